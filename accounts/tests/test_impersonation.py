"""Staff acting as a customer: begun in the admin, told to the owner, recorded with both, never near
credentials.
"""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.credentials import known_devices
from accounts.errors import BeyondYourRights, LinkRefused
from accounts.models import Role, Session, User
from accounts.services import impersonation, roles, sessions, users
from accounts.services.impersonation import NEVER
from accounts.tests.calls import FROM_PAGE, mails_to, post
from accounts.tests.factories import UserFactory
from audit import refusal_counters
from audit.actors import SYSTEM
from audit.models import Entry, Personal
from conftest import PASSWORD, ApiClient, sign_in
from core.http.preconditions import ANY_VERSION
from core.permissions import ADMIN_ACCESS
from sites.tests.team import new_team

pytestmark = pytest.mark.django_db
REASON = "They asked why their page is empty."


@pytest.fixture
def staff(password_hash):
    return UserFactory(email="staff@example.com", role="admin", password=password_hash)


def begin(staff, user, *, now=None):
    link = impersonation.begin_impersonation(user.pk, staff=staff, reason=REASON, now=now or timezone.now())
    return link.partition("#")[2]


def acting(staff, user) -> ApiClient:
    answer = post(Client(), "impersonate", {"token": begin(staff, user)})
    assert answer.status_code == 200, answer.content
    session = Session.objects.get(impersonator=staff, revoked_at=None)
    api = ApiClient(user, session, answer.json()["access"])
    api.client.cookies["refresh"] = answer.cookies["refresh"].value
    return api


def test_an_admin_begins_it_in_the_admin_and_the_owner_is_told(staff, member):
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": staff.email, "password": PASSWORD})
    page = f"/admin/accounts/user/{member.pk}/impersonate/"
    assert f'href="{page}"' in browser.get(f"/admin/accounts/user/{member.pk}/change/").content.decode()

    empty = browser.post(page, {"reason": ""})
    shown = browser.post(page, {"reason": REASON})
    link = re.search(r'href="([^"]+/impersonate#[^"]+)"', shown.content.decode())[1]
    opened = post(Client(), "impersonate", {"token": link.partition("#")[2]})

    assert b"This field is required" in empty.content
    assert (opened.status_code, opened.json()["user"]["id"]) == (200, str(member.pk))
    (text,) = mails_to(member.email)
    assert REASON in text
    assert staff.email not in text
    begun = Entry.objects.filter(event="impersonation.begun", owner_id=member.pk).latest("id")
    assert (begun.actor_kind, begun.actor_id) == ("staff", staff.pk)
    assert Personal.objects.filter(entry_id=begun.pk, field="reason", value=REASON).exists()


def test_what_is_done_is_recorded_with_both_and_told_to_the_front_end(staff, member):
    api = acting(staff, member)
    site = api.post("sites", {"name": "S", "subdomain": "made-by-staff", "template": "bakery"})

    assert site.status_code == 201
    entry = Entry.objects.filter(event="site.created", owner_id=member.pk).latest("id")
    assert (entry.actor_kind, entry.actor_id, json.loads(entry.facts)["impersonator"]) == (
        "user",
        member.pk,
        str(staff.pk),
    )
    assert api.get("auth/me").json()["impersonator"] == str(staff.pk)
    assert sign_in(member).get("auth/me").json()["impersonator"] is None
    claims = jwt.decode(api.access, options={"verify_signature": False})
    assert (claims["sub"], claims["act"]) == (str(member.pk), {"sub": str(staff.pk)})
    shown = [item["impersonated"] for item in sign_in(member).get("auth/sessions").json()["results"]]
    assert shown.count(True) == 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "auth/me", {"name": "x"}),
        ("DELETE", "auth/me", None),
        ("POST", "auth/me/export", None),
        ("GET", "auth/me/export", None),
        ("POST", "auth/reauthenticate", {"password": PASSWORD}),
        ("POST", "auth/password/change", {}),
        ("POST", "auth/email/change", {}),
        ("POST", "auth/totp", None),
        ("POST", "auth/recovery-codes", None),
        ("POST", "auth/passkeys/options", None),
        ("POST", "api-keys", {}),
        ("POST", "auth/providers/mock/options", None),
        ("POST", "auth/logout-all", None),
        ("POST", "auth/reauthenticate/passkey/options", None),
    ],
)
def test_nothing_of_the_account_is_changed_and_no_credential_seen(staff, member, method, path, body):
    refused = acting(staff, member).call(method, path, body, if_match="*")

    assert (refused.status_code, refused.json()["code"]) == (403, "impersonation_refused")


def test_nothing_is_done_to_a_site_that_would_outlive_it(staff):
    team = new_team()
    api = acting(staff, team.owner.user)
    member = str(team.editor.user.pk)
    soon = (timezone.now() + timedelta(days=1)).isoformat()
    calls = [
        ("POST", "transfer", {"member": member}),
        ("POST", "invitations", {"email": staff.email, "role": "editor"}),
        ("DELETE", "", None),
        ("PATCH", f"members/{member}", {"role": "viewer"}),
        ("DELETE", f"members/{member}", None),
        ("POST", "previews", {}),
        ("GET", "previews", None),
        ("POST", "schedules", {"at": soon}),
    ]

    refused = [
        api.call(method, team.path(what), body, if_match="*").json()["code"] for method, what, body in calls
    ]

    assert refused == ["impersonation_refused"] * len(calls)
    assert api.post(team.path("publish")).status_code == 201


@pytest.fixture
def helper():
    """A member of staff who may impersonate and nothing else."""
    made = UserFactory(email="helper@example.com")
    made.roles.add(Role.objects.create(name="helper", permissions=[ADMIN_ACCESS.code, "users.impersonate"]))
    return User.objects.get_queryset().get(pk=made.pk)


def test_rights_that_the_customer_gets_are_not_the_impersonators(helper, member):
    api = acting(helper, member)
    waiting = begin(helper, member)
    roles.set_roles(member.pk, {"admin"}, actor=SYSTEM, now=timezone.now())

    assert post(api.client, "refresh", **FROM_PAGE).status_code == 401
    assert api.get("users").status_code == 401
    assert post(Client(), "impersonate", {"token": waiting}).status_code == 400


def test_no_right_is_used_in_somebody_elses_name_even_before_it_ends(helper, member):
    """A session whose tombstone has not come yet."""
    own = Role.objects.create(name="readers", permissions=[])
    member.roles.add(own)
    api = acting(helper, member)
    Role.objects.filter(pk=own.pk).update(permissions=["users.read"])

    assert api.get("users").status_code == 403


@pytest.mark.parametrize("whose", ["helper", "readers"])
def test_a_changed_role_ends_it_too(helper, member, whose):
    readers = Role.objects.create(name="readers", permissions=[])
    member.roles.add(readers)
    api = acting(helper, member)
    changed = Role.objects.get(name=whose)
    permissions = [] if whose == "helper" else ["users.read"]
    roles.change_role(
        changed.pk, name=whose, permissions=permissions, actor=SYSTEM, limit=None, if_match=ANY_VERSION
    )

    assert api.get("auth/me").json()["code"] == "token_revoked"
    assert post(api.client, "refresh", **FROM_PAGE).status_code == 401


def test_what_the_cookie_does_is_recorded_with_both_too(staff, member):
    api = acting(staff, member)
    post(api.client, "refresh", **FROM_PAGE)
    api.patch("auth/me", {"name": "x"}, if_match="*")
    post(api.client, "logout", **FROM_PAGE)
    refusal_counters.flush(now=timezone.now() + timedelta(minutes=2))

    made = Entry.objects.filter(facts__contains=str(staff.pk)).values_list("event", flat=True)
    assert {"session.refreshed", "session.ended", "request.refused"} <= set(made)


def test_sessions_are_not_ended_by_an_impersonator_but_by_the_owner_they_are(staff, member):
    api = acting(staff, member)
    own = sign_in(member)

    assert api.delete(f"auth/sessions/{own.session.pk}").json()["code"] == "impersonation_refused"
    assert own.delete(f"auth/sessions/{api.session.pk}").status_code == 204
    assert api.get("auth/me").json()["code"] == "token_revoked"


@pytest.mark.parametrize("rights", [[ADMIN_ACCESS.code], ["audit.read"]])
def test_nobody_with_rights_is_impersonated(staff, rights):
    other = UserFactory()
    other.roles.add(Role.objects.create(name="some", permissions=rights))

    with pytest.raises(BeyondYourRights):
        begin(staff, User.objects.alive().get(pk=other.pk))
    with pytest.raises(BeyondYourRights):
        begin(staff, staff)


def test_it_takes_the_permission(member, password_hash):
    helper = UserFactory(email="helper@example.com", role="support", password=password_hash)
    with pytest.raises(BeyondYourRights):
        begin(helper, member)
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": helper.email, "password": PASSWORD})

    assert b"Act as this user" not in browser.get(f"/admin/accounts/user/{member.pk}/change/").content
    assert browser.get(f"/admin/accounts/user/{member.pk}/impersonate/").status_code == 403
    assert browser.post(f"/admin/accounts/user/{member.pk}/impersonate/", {"reason": "x"}).status_code == 403
    assert Client().get(f"/admin/accounts/user/{member.pk}/impersonate/").status_code == 302


@pytest.mark.parametrize("change", [{"deleted_at": timezone.now()}, {"is_active": False}])
def test_closed_and_disabled_accounts_are_not_impersonated(staff, member, change):
    User.objects.filter(pk=member.pk).update(**change)

    with pytest.raises(User.DoesNotExist):
        begin(staff, member)


@pytest.mark.commits
def test_a_link_is_good_once_for_two_minutes(staff, member):
    token = begin(staff, member)

    def fetch(_):
        try:
            return post(Client(), "impersonate", {"token": token}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(fetch, range(12)))[:2] == [200, 400]
    late = begin(staff, member)
    with pytest.raises(LinkRefused):
        impersonation.fetch_impersonation(
            late, device=known_devices.Device(), now=timezone.now() + timedelta(minutes=2, seconds=1)
        )
    for bad in ("x", late[:-1], "é", ""):
        assert post(Client(), "impersonate", {"token": bad}).status_code == 400


def test_it_ends_after_half_an_hour_and_is_not_prolonged(staff, member):
    api = acting(staff, member)
    Session.objects.filter(pk=api.session.pk).update(expires_at=timezone.now() + timedelta(minutes=4))
    refreshed = post(api.client, "refresh", **FROM_PAGE)
    claims = jwt.decode(refreshed.json()["access"], options={"verify_signature": False})
    left = claims["exp"] - timezone.now().timestamp()

    assert (api.session.expires_at - api.session.created_at) <= timedelta(minutes=30, seconds=1)
    assert 200 < left < 245
    assert claims["act"] == {"sub": str(staff.pk)}
    assert refreshed.json()["expires_in"] <= 240
    Session.objects.filter(pk=api.session.pk).update(expires_at=timezone.now())
    assert post(api.client, "refresh", **FROM_PAGE).status_code == 401


@pytest.mark.parametrize(
    "act",
    [
        lambda staff: users.set_active(staff.pk, False, actor=SYSTEM, now=timezone.now()),
        lambda staff: roles.set_roles(staff.pk, {"user"}, actor=SYSTEM, now=timezone.now()),
        lambda staff: sessions.close_all_sessions(staff.pk, actor=SYSTEM, now=timezone.now()),
        lambda staff: users.delete_user(staff.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
    ],
    ids=["disabled", "no longer staff", "signed out everywhere", "deleted"],
)
def test_it_ends_when_the_impersonator_loses_the_right_to_it(staff, member, act):
    UserFactory(role="admin")
    api = acting(staff, member)
    waiting = begin(staff, member)
    assert api.get("auth/me").status_code == 200

    act(staff)

    assert api.get("auth/me").json()["code"] == "token_revoked"
    assert post(api.client, "refresh", **FROM_PAGE).status_code == 401
    assert post(Client(), "impersonate", {"token": waiting}).status_code == 400


def test_no_device_becomes_known_by_it(staff, member):
    answer = post(Client(), "impersonate", {"token": begin(staff, member)})

    assert "device" not in answer.cookies
    assert Session.objects.get(impersonator=staff).proved_at == NEVER
