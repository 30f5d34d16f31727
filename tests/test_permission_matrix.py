"""The matrix of roles and operations: docs/permissions.md is up to date, and the API enforces it."""

import re
import uuid

import pytest
from django.test import Client

from accounts.management.commands.permission_matrix import list_operations, render_matrix
from accounts.services.roles import BUILT_IN_ROLES
from accounts.tests.factories import UserFactory
from conftest import sign_in
from tests.stack import ROOT

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]


def with_random_ids(path):
    """The path with ids of rows that do not exist."""
    return re.sub(r"\{\w+\}", lambda _: str(uuid.uuid4()), path)


def test_permission_matrix_command_prints_the_documented_page():
    page = (ROOT / "docs" / "permissions.md").read_text()

    assert page == render_matrix(), "run: manage.py permission_matrix > docs/permissions.md"


@pytest.mark.parametrize("role", BUILT_IN_ROLES)
def test_permission_matrix_agrees_with_what_a_role_may_call(role):
    UserFactory(role="admin")  # so that the caller is not the last administrator
    disagreements = {}
    for item in list_operations():
        caller = sign_in(UserFactory(role=role))
        response = caller.call(item.method, with_random_ids(item.path), {}, if_match="*")
        is_refused = response.status_code == 403 and response.json()["code"] == "permission_denied"
        if is_refused == (item.policy.is_anonymous or item.allows(role)):
            disagreements[item.method, item.path] = (response.status_code, response.content[:200])

    assert disagreements == {}


def test_permission_matrix_agrees_with_what_an_anonymous_client_may_call():
    for item in list_operations():
        path = with_random_ids(item.path)
        response = Client().generic(item.method, path, b"{}", content_type="application/json")
        is_refused = response.status_code == 401 and response.json()["code"] == "not_authenticated"
        assert is_refused == (not item.policy.is_anonymous), (item.method, item.path)
