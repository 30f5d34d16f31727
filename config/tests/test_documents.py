"""What the pages in docs/ promise about the code stays true."""

import re

from config.env import BASE_DIR, Environment


def read(name):
    return (BASE_DIR / name).read_text()


def test_every_variable_is_documented():
    documented = set(re.findall(r"^\| `([A-Z0-9_]+)` \|", read("docs/running.md"), re.MULTILINE))

    assert documented == {name.upper() for name in Environment.model_fields}


def test_every_dependency_has_its_reason():
    named = set()
    for line in (read("requirements.in") + read("requirements-dev.in")).splitlines():
        if line and not line.startswith("-r"):
            named.add(re.split(r"[\[~=<>]", line)[0])
    explained = {
        name.strip().split(" ")[0]
        for row in re.findall(r"^\| ([a-z][^|]+) \|", read("docs/dependencies.md"), re.MULTILINE)
        for name in row.split(",")
    }

    assert named == explained - {"package", "pool)"}


def test_locked_dependencies_name_no_index():
    for name in ("requirements.txt", "requirements-dev.txt"):
        assert not re.search(r"https?://|--[a-z-]*(index|links)|file:", read(name)), name


def test_every_decision_that_the_code_cites_is_there():
    cited = set()
    for path in BASE_DIR.glob("*/**/*.py"):
        if ".venv" not in path.parts:
            cited |= set(re.findall(r"docs/decisions/(\d{3})", path.read_text()))

    assert cited <= {path.name[:3] for path in (BASE_DIR / "docs" / "decisions").iterdir()}


def test_links_between_documents_lead_somewhere():
    for page in [BASE_DIR / "README.md", *(BASE_DIR / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_development_guide_names_files_that_exist():
    guide = (BASE_DIR / "docs" / "development.md").read_text()
    paths = set(re.findall(r"`([a-z_]+/[\w/]*\.py)`", guide))

    assert len(paths) > 30
    assert [path for path in sorted(paths) if not (BASE_DIR / path).exists()] == []
