"""One's own account."""

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


def test_me_is_changed_under_its_version_only(api):
    version = api.get("auth/me").json()["version"]

    without = api.patch("auth/me", {"name": "X"})
    stale = api.patch("auth/me", {"name": "X"}, if_match=version + 1)
    weak = api.patch("auth/me", {"name": "X"}, if_match=f'W/"{version}"')
    good = api.patch("auth/me", {"name": "New name", "age": None}, if_match=version)

    assert [answer.status_code for answer in (without, stale, weak, good)] == [428, 412, 412, 200]
    assert (good.json()["name"], good["ETag"]) == ("New name", f'"{version + 1}"')


@pytest.mark.parametrize("field", ["email", "password", "roles", "id", "version", "epoch"])
def test_me_refuses_fields_that_are_not_the_users_to_change(api, field):
    assert api.patch("auth/me", {field: "x"}, if_match=1).status_code == 400


def test_delete_me_hides_the_account_keeps_its_address_and_signs_out(member, password_hash):
    api = sign_in(member)

    assert api.delete("auth/me", if_match=member.version).status_code == 204

    assert api.get("auth/me").status_code == 401
    assert post_auth(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 401
    assert post_auth(Client(), "register", {"email": member.email, "password": PASSWORD}).status_code == 409


def test_the_last_admin_cannot_leave(password_hash):
    first = sign_in(UserFactory(role="admin"))
    assert first.delete("auth/me", if_match=1).json()["code"] == "last_admin"

    UserFactory(role="admin")
    assert first.delete("auth/me", if_match=1).status_code == 204


@pytest.mark.parametrize(("method", "path"), [("POST", "auth/logout-all"), ("DELETE", "auth/me")])
def test_leaving_takes_the_cookie_away(api, method, path):
    answer = api.call(method, path, if_match="*")

    assert (answer.status_code, answer.cookies["refresh"].value, answer.cookies["refresh"]["max-age"]) == (
        204,
        "",
        0,
    )


def test_delete_me_needs_the_version_last_read(api):
    statuses = [api.delete("auth/me", if_match=tag).status_code for tag in (None, 7)]

    assert (statuses, api.get("auth/me").status_code) == ([428, 412], 200)


@pytest.mark.commits
def test_parallel_changes_of_an_account_under_one_version_let_one_through(api):
    def change(number):
        try:
            return api.patch("auth/me", {"name": f"Name {number}"}, if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(16)))

    assert statuses == [200, *[412] * 15]


@pytest.mark.commits
def test_of_two_administrators_who_leave_at_once_one_stays():
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
def test_an_administrator_who_cannot_act_is_none(change):
    last = sign_in(UserFactory(role="admin"))
    gone = UserFactory(role="admin")
    User.objects.get_queryset().filter(pk=gone.pk).update(**change)

    assert last.delete("auth/me", if_match=1).json()["code"] == "last_admin"
