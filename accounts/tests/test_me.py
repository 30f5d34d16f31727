"""Views of the caller's own account."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import post_auth
from conftest import PASSWORD, sign_in
from core.storage import redis

pytestmark = pytest.mark.django_db


def test_me_partial_update_requires_the_current_version(api):
    version = api.get("auth/me").json()["version"]

    without = api.patch("auth/me", {"name": "X"})
    stale = api.patch("auth/me", {"name": "X"}, if_match=version + 1)
    weak = api.patch("auth/me", {"name": "X"}, if_match=f'W/"{version}"')
    accepted = api.patch("auth/me", {"name": "New name", "age": None}, if_match=version)

    assert [response.status_code for response in (without, stale, weak, accepted)] == [428, 412, 412, 200]
    assert (accepted.json()["name"], accepted["ETag"]) == ("New name", f'"{version + 1}"')


@pytest.mark.parametrize("field", ["email", "password", "roles", "id", "version", "epoch"])
def test_me_partial_update_refuses_protected_fields(api, field):
    assert api.patch("auth/me", {field: "x"}, if_match=1).status_code == 400


def test_me_destroy_hides_the_account_reserves_its_address_and_ends_sessions(member, password_hash):
    api = sign_in(member)

    assert api.delete("auth/me", if_match=member.version).status_code == 204

    assert api.get("auth/me").status_code == 401
    assert post_auth(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 401
    assert post_auth(Client(), "register", {"email": member.email, "password": PASSWORD}).status_code == 409


def test_me_destroy_refuses_the_last_admin(password_hash):
    first = sign_in(UserFactory(role="admin"))
    assert first.delete("auth/me", if_match=1).json()["code"] == "last_admin"

    UserFactory(role="admin")
    assert first.delete("auth/me", if_match=1).status_code == 204


@pytest.mark.parametrize(("method", "path"), [("POST", "auth/logout-all"), ("DELETE", "auth/me")])
def test_me_destroy_and_logout_all_delete_the_refresh_cookie(api, method, path):
    response = api.call(method, path, if_match="*")

    assert (
        response.status_code,
        response.cookies["refresh"].value,
        response.cookies["refresh"]["max-age"],
    ) == (
        204,
        "",
        0,
    )


def test_me_destroy_requires_the_current_version(api):
    statuses = [api.delete("auth/me", if_match=tag).status_code for tag in (None, 7)]

    assert (statuses, api.get("auth/me").status_code) == ([428, 412], 200)


@pytest.mark.commits
def test_change_user_accepts_one_of_parallel_changes(api):
    def change(number):
        try:
            return api.patch("auth/me", {"name": f"Name {number}"}, if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(16)))

    assert statuses == [200, *[412] * 15]


@pytest.mark.commits
def test_require_another_admin_keeps_one_of_two_admins_in_parallel():
    admins = [sign_in(UserFactory(role="admin")) for _ in range(2)]

    def leave(admin):
        try:
            return admin.delete("auth/me", if_match=1).status_code
        finally:
            connections.close_all()

    for _ in range(10):
        with ThreadPoolExecutor(2) as pool:
            statuses = sorted(pool.map(leave, admins))
        assert statuses == [204, 409]
        User.objects.get_queryset().update(deleted_at=None, epoch=0, version=1)
        redis.client().flushdb()
        admins = [sign_in(admin.user) for admin in admins]


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"deleted_at": timezone.now()}], ids=["disabled", "hidden"]
)
def test_require_another_admin_ignores_disabled_and_deleted_admins(change):
    last = sign_in(UserFactory(role="admin"))
    inactive = UserFactory(role="admin")
    User.objects.get_queryset().filter(pk=inactive.pk).update(**change)

    assert last.delete("auth/me", if_match=1).json()["code"] == "last_admin"
