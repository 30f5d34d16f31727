"""core names no app that is built on it, also not in strings, which lint-imports cannot see."""

import re

from django.conf import settings

APP_REFERENCE = re.compile(r"""["'](?:accounts|sites|analytics|vault|backups|audit)[._]\w""")


def test_core_names_no_other_app_in_its_strings():
    references = [
        f"{path.relative_to(settings.BASE_DIR)}: {line.strip()}"
        for path in sorted((settings.BASE_DIR / "core").rglob("*.py"))
        if "tests" not in path.parts
        for line in path.read_text().splitlines()
        if APP_REFERENCE.search(line)
    ]

    assert references == []
