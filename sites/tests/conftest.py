import pytest

from sites.tests.team import Team, new_team
from sites.tests.visitor import Visitor


@pytest.fixture(autouse=True)
def mailbox(settings, tmp_path):
    """Write mails to files instead of sending them. Returns the folder."""
    settings.EMAIL_BACKEND = "core.jobs.mail.FolderBackend"
    settings.MAIL_FOLDER = str(tmp_path / "mail")
    return tmp_path / "mail"


@pytest.fixture
def visitor() -> Visitor:
    return Visitor()


@pytest.fixture
def team(db: None) -> Team:
    return new_team()


@pytest.fixture
def live_team(team: Team) -> Team:
    """A team whose site is published."""
    assert team.editor.post(team.path("publish")).status_code == 201
    return team
