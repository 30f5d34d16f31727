import shutil

import pytest

from accounts.tests.factories import UserFactory
from tests.operations import World, new_world


@pytest.fixture
def member(password_hash):
    return UserFactory(email="member@example.com", password=password_hash)


@pytest.fixture(autouse=True)
def mailbox(settings, tmp_path):
    """Folder with the mails of this test."""
    settings.EMAIL_BACKEND = "core.jobs.mail.FolderBackend"  # Django's test runner replaces the backend
    settings.MAIL_FOLDER = str(tmp_path / "mail")
    yield tmp_path / "mail"
    shutil.rmtree(tmp_path / "mail", ignore_errors=True)


@pytest.fixture
def world(password_hash) -> World:
    """A user without permissions who owns one object of each kind."""
    return new_world(password_hash, role="user")
