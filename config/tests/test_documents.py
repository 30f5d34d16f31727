"""The pages in docs/ agree with the code: variables, dependencies, decisions and links."""

import re

from config.env import BASE_DIR, Environment


def read_text(name):
    return (BASE_DIR / name).read_text()


def test_running_guide_repeats_the_description_of_every_environment_variable():
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|[^|]*\| (.*) \|$", read_text("docs/running.md"), re.MULTILINE)

    assert dict(rows) == {name.upper(): field.description for name, field in Environment.model_fields.items()}


def test_dependencies_page_explains_every_requirement():
    required = set()
    for line in (read_text("requirements.in") + read_text("requirements-dev.in")).splitlines():
        if line and not line.startswith("-r"):
            required.add(re.split(r"[\[~=<>]", line)[0])
    explained = {
        name.strip().split(" ")[0]
        for row in re.findall(r"^\| ([a-z][^|]+) \|", read_text("docs/dependencies.md"), re.MULTILINE)
        for name in row.split(",")
    }

    assert required == explained - {"package", "pool)"}


def test_requirements_name_no_package_index():
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert not re.search(r"https?://|--[a-z-]*(index|links)|file:", read_text(name)), name


def test_decisions_contain_every_decision_that_the_code_cites():
    cited = set()
    for path in BASE_DIR.glob("*/**/*.py"):
        if ".venv" not in path.parts:
            cited |= set(re.findall(r"docs/decisions/(\d{3})", path.read_text()))

    assert cited <= {path.name[:3] for path in (BASE_DIR / "docs" / "decisions").iterdir()}


def test_documents_link_to_existing_files():
    for page in [BASE_DIR / "README.md", *(BASE_DIR / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_development_guide_names_files_that_exist():
    guide = (BASE_DIR / "docs" / "development.md").read_text()
    paths = set(re.findall(r"`([a-z_]+/[\w/]*\.py)`", guide))

    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (BASE_DIR / path).exists()] == []
