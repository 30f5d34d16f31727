import shutil

import pytest

from accounts.models import User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import ZERO_KNOWLEDGE_EMAIL, sign_up_zero_knowledge
from conftest import sign_in
from tests.world import World, new_world


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


@pytest.fixture
def admin():
    """The API of an administrator."""
    return sign_in(UserFactory(email="admin@example.com", name="Ada", role="admin", age=50))


@pytest.fixture
def zero_knowledge_account():
    """The API of a user who signed up with zero-knowledge login."""
    assert sign_up_zero_knowledge().status_code == 201
    return sign_in(User.objects.alive().get(email=ZERO_KNOWLEDGE_EMAIL))
