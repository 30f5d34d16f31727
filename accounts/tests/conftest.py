import shutil

import pytest

from accounts.tests.factories import UserFactory
from tests.world import World, new_world


@pytest.fixture
def member(password_hash):
    return UserFactory(email="member@example.com", password=password_hash)


@pytest.fixture(autouse=True)
def mailbox(settings, tmp_path):
    """Mails of this test alone."""
    settings.EMAIL_BACKEND = "core.jobs.mail.FolderBackend"  # Django's test runner had put its own in place
    settings.MAIL_FOLDER = str(tmp_path / "mail")
    yield tmp_path / "mail"
    shutil.rmtree(tmp_path / "mail", ignore_errors=True)


@pytest.fixture
def world(password_hash) -> World:
    """Somebody without any rights who owns one of everything."""
    return new_world(password_hash, role="user")
