"""The matrix of roles and operations: written down, and true."""

import uuid

import pytest
from django.test import Client

from accounts.management.commands.permission_matrix import operations, table
from accounts.services import BUILT_IN
from accounts.tests.factories import UserFactory
from conftest import sign_in
from tests.operations import OPERATIONS
from tests.stack import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_page_is_what_the_views_say():
    assert (ROOT / "docs" / "permissions.md").read_text() == table(), (
        "manage.py permission_matrix > docs/permissions.md"
    )


def test_every_operation_of_the_document_is_in_the_matrix():
    assert {(item.method.lower(), item.path) for item in operations()} == set(OPERATIONS)


@pytest.mark.parametrize("role", BUILT_IN)
def test_a_role_may_do_what_its_column_says_and_nothing_else(role):
    UserFactory(role="admin")  # so that nobody is the last one
    wrong = {}
    for item in operations():
        caller = sign_in(UserFactory(role=role))
        answer = caller.call(item.method, item.path.replace("{id}", str(uuid.uuid4())), {}, if_match="*")
        refused = answer.status_code == 403 and answer.json()["code"] == "permission_denied"
        if refused == (item.anonymous or item.allows(role)):
            wrong[item.method, item.path] = (answer.status_code, answer.content[:200])

    assert wrong == {}


def test_nobody_may_do_what_is_not_for_nobody():
    for item in operations():
        path = item.path.replace("{id}", str(uuid.uuid4()))
        answer = Client().generic(item.method, path, b"{}", content_type="application/json")
        refused = answer.status_code == 401 and answer.json()["code"] == "not_authenticated"
        assert refused == (not item.anonymous), (item.method, item.path)
