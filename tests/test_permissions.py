"""The matrix of roles and operations: written down, and true."""

import re
import uuid

import pytest
from django.test import Client

from accounts.management.commands.permission_matrix import operations, table
from accounts.services.roles import BUILT_IN
from accounts.tests.factories import UserFactory
from conftest import sign_in
from tests.stack import ROOT


def anywhere(path):
    """The address with ids of nothing."""
    return re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), path)


pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]


def test_the_page_is_what_the_views_say():
    assert (ROOT / "docs" / "permissions.md").read_text() == table(), (
        "manage.py permission_matrix > docs/permissions.md"
    )


@pytest.mark.parametrize("role", BUILT_IN)
def test_a_role_may_do_what_its_column_says_and_nothing_else(role):
    UserFactory(role="admin")  # so that nobody is the last one
    wrong = {}
    for item in operations():
        caller = sign_in(UserFactory(role=role))
        answer = caller.call(item.method, anywhere(item.path), {}, if_match="*")
        refused = answer.status_code == 403 and answer.json()["code"] == "permission_denied"
        if refused == (item.policy.is_anonymous or item.allows(role)):
            wrong[item.method, item.path] = (answer.status_code, answer.content[:200])

    assert wrong == {}


def test_nobody_may_do_what_is_not_for_nobody():
    for item in operations():
        path = anywhere(item.path)
        answer = Client().generic(item.method, path, b"{}", content_type="application/json")
        refused = answer.status_code == 401 and answer.json()["code"] == "not_authenticated"
        assert refused == (not item.policy.is_anonymous), (item.method, item.path)
