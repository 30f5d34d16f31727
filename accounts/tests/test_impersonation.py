"""Impersonation of a customer by staff."""

import json
import re
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import jwt
import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.credentials import known_devices
from accounts.errors import LinkRefused, PermissionsExceeded
from accounts.models import Role, Session, User
from accounts.services import impersonation, roles, sessions, users
from accounts.services.impersonation import NEVER_PROVED_AT
from accounts.services.sessions import describe_user_agent
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import BROWSER_HEADERS, deliver_and_read_mails, post_auth
from audit import refusal_counters
from audit.actors import SYSTEM
from audit.models import Entry, Personal
from conftest import PASSWORD, ApiClient, sign_in
from core import lifecycle, tenancy
from core.http.preconditions import ANY_VERSION
from core.permissions import ADMIN_ACCESS
from sites.tests.team import new_team

pytestmark = pytest.mark.django_db
REASON = "They asked why their page is empty."


@pytest.fixture
def staff(password_hash):
    return UserFactory(email="staff@example.com", role="admin", password=password_hash)


def lifecycle_export(user):
    """The files of a data export, with the lines of each as a list."""
    with tenancy.context(tenancy.SYSTEM):
        for path, read in lifecycle.export_personal_data(user.pk):
            yield path, list(read()) if path.endswith(".jsonl") else read()


def begin_link(staff, user, *, now=None):
    link = impersonation.begin_impersonation(user.pk, staff=staff, reason=REASON, now=now or timezone.now())
    return link.partition("#")[2]


def impersonating_api(staff, user) -> ApiClient:
    response = post_auth(Client(), "impersonate", {"token": begin_link(staff, user)})
    assert response.status_code == 200, response.content
    session = Session.objects.get(impersonator=staff, revoked_at=None)
    api = ApiClient(user, session, response.json()["access"])
    api.client.cookies["refresh"] = response.cookies["refresh"].value
    return api


def test_begin_impersonation_in_the_admin_mails_the_owner(staff, member):
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": staff.email, "password": PASSWORD})
    page = f"/admin/accounts/user/{member.pk}/impersonate/"
    assert f'href="{page}"' in browser.get(f"/admin/accounts/user/{member.pk}/change/").content.decode()

    empty = browser.post(page, {"reason": ""})
    with_link = browser.post(page, {"reason": REASON})
    link = re.search(r'href="([^"]+/impersonate#[^"]+)"', with_link.content.decode())[1]
    opened = post_auth(Client(), "impersonate", {"token": link.partition("#")[2]})

    assert b"This field is required" in empty.content
    assert (opened.status_code, opened.json()["user"]["id"]) == (200, str(member.pk))
    (text,) = deliver_and_read_mails(member.email)
    assert REASON in text
    assert staff.email not in text
    entry = Entry.objects.filter(event="impersonation.begun", owner_id=member.pk).latest("id")
    assert (entry.actor_kind, entry.actor_id) == ("staff", staff.pk)
    assert Personal.objects.filter(entry_id=entry.pk, field="reason", value=REASON).exists()


def test_impersonation_is_recorded_with_both_users_and_shown_in_me(staff, member):
    api = impersonating_api(staff, member)
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
    impersonated = [item["impersonated"] for item in sign_in(member).get("auth/sessions").json()["results"]]
    assert impersonated.count(True) == 1


def test_impersonation_hides_the_device_and_network_of_staff_from_the_customer(staff, member):
    api = impersonating_api(staff, member)
    device = {"agent": "Staff browser", "network": "198.51.100.0/24"}
    Session.objects.filter(impersonator=staff).update(**device)
    api.client.defaults["REMOTE_ADDR"] = "198.51.100.9"
    api.post("sites", {"name": "S", "subdomain": "made-by-staff"})
    customer = sign_in(member)

    (session,) = [
        row for row in customer.get("auth/sessions").json()["results"] if row["impersonated"] is True
    ]
    (entry,) = customer.get("audit?event=site.created").json()["results"]
    export = json.dumps(dict(lifecycle_export(member)), default=str)

    assert (session["device"], session["agent"], session["network"]) == (describe_user_agent(""), "", "")
    assert "network" not in entry["personal"]
    assert "made-by-staff" in export
    assert [text for text in device.values() if text in export] == []


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
def test_impersonation_refuses_account_and_credential_actions(staff, member, method, path, body):
    refused = impersonating_api(staff, member).call(method, path, body, if_match="*")

    assert (refused.status_code, refused.json()["code"]) == (403, "impersonation_refused")


def test_impersonation_refuses_site_actions_with_lasting_access(staff):
    team = new_team()
    api = impersonating_api(staff, team.owner.user)
    member = str(team.editor.user.pk)
    row = str(uuid.uuid4())
    in_one_day = (timezone.now() + timedelta(days=1)).isoformat()
    requests = [
        ("POST", "transfer", {"member": member}),
        ("POST", "invitations", {"email": staff.email, "role": "editor"}),
        ("DELETE", "", None),
        ("PATCH", f"members/{member}", {"role": "viewer"}),
        ("DELETE", f"members/{member}", None),
        ("POST", "previews", {}),
        ("GET", "previews", None),
        ("POST", "schedules", {"at": in_one_day}),
        ("PATCH", "", {"subdomain": "another-name"}),
        ("DELETE", f"schedules/{row}", None),
        ("DELETE", f"previews/{row}", None),
        ("DELETE", f"analytics/shares/{row}", None),
        ("DELETE", f"analytics/goals/{row}", None),
        ("DELETE", f"analytics/annotations/{row}", None),
        ("POST", "events", []),
    ]

    refused = [
        api.call(method, team.path(path_end), body, if_match="*").json()["code"]
        for method, path_end, body in requests
    ]

    assert refused == ["impersonation_refused"] * len(requests)
    assert api.post("invitations/accept", {"token": "x"}).json()["code"] == "impersonation_refused"
    assert api.post(team.path("publish")).status_code == 201


@pytest.fixture
def helper():
    """A member of staff whose only right is to impersonate."""
    user = UserFactory(email="helper@example.com")
    user.roles.add(Role.objects.create(name="helper", permissions=[ADMIN_ACCESS.code, "users.impersonate"]))
    return User.objects.get_queryset().get(pk=user.pk)


def test_impersonation_ends_when_the_user_gains_permissions(helper, member):
    api = impersonating_api(helper, member)
    unopened_token = begin_link(helper, member)
    roles.set_roles(member.pk, {"admin"}, actor=SYSTEM, now=timezone.now())

    assert post_auth(api.client, "refresh", **BROWSER_HEADERS).status_code == 401
    assert api.get("users").status_code == 401
    assert post_auth(Client(), "impersonate", {"token": unopened_token}).status_code == 400


def test_caller_may_grants_no_permission_during_impersonation(helper, member):
    """The role changes without a tombstone, as before it reaches Redis."""
    role = Role.objects.create(name="readers", permissions=[])
    member.roles.add(role)
    api = impersonating_api(helper, member)
    Role.objects.filter(pk=role.pk).update(permissions=["users.read"])

    assert api.get("users").status_code == 403


@pytest.mark.parametrize("role_name", ["helper", "readers"])
def test_change_role_ends_impersonations(helper, member, role_name):
    readers = Role.objects.create(name="readers", permissions=[])
    member.roles.add(readers)
    api = impersonating_api(helper, member)
    role = Role.objects.get(name=role_name)
    permissions = [] if role_name == "helper" else ["users.read"]
    roles.change_role(
        role.pk,
        name=role_name,
        permissions=permissions,
        actor=SYSTEM,
        allowed_permissions=None,
        if_match=ANY_VERSION,
    )

    assert api.get("auth/me").json()["code"] == "token_revoked"
    assert post_auth(api.client, "refresh", **BROWSER_HEADERS).status_code == 401


def test_refresh_and_logout_record_the_impersonator(staff, member):
    api = impersonating_api(staff, member)
    post_auth(api.client, "refresh", **BROWSER_HEADERS)
    api.patch("auth/me", {"name": "x"}, if_match="*")
    post_auth(api.client, "logout", **BROWSER_HEADERS)
    refusal_counters.record_counted_refusals(now=timezone.now() + timedelta(minutes=2))

    events = Entry.objects.filter(facts__contains=str(staff.pk)).values_list("event", flat=True)
    assert {"session.refreshed", "session.ended", "request.refused"} <= set(events)


def test_sessions_destroy_is_refused_to_the_impersonator_and_allowed_to_the_owner(staff, member):
    api = impersonating_api(staff, member)
    owner = sign_in(member)

    assert api.delete(f"auth/sessions/{owner.session.pk}").json()["code"] == "impersonation_refused"
    assert owner.delete(f"auth/sessions/{api.session.pk}").status_code == 204
    assert api.get("auth/me").json()["code"] == "token_revoked"


@pytest.mark.parametrize("permissions", [[ADMIN_ACCESS.code], ["audit.read"]])
def test_begin_impersonation_refuses_users_with_permissions(staff, permissions):
    other = UserFactory()
    other.roles.add(Role.objects.create(name="some", permissions=permissions))

    with pytest.raises(PermissionsExceeded):
        begin_link(staff, User.objects.alive().get(pk=other.pk))
    with pytest.raises(PermissionsExceeded):
        begin_link(staff, staff)


def test_begin_impersonation_requires_the_permission(member, password_hash):
    helper = UserFactory(email="helper@example.com", role="support", password=password_hash)
    with pytest.raises(PermissionsExceeded):
        begin_link(helper, member)
    browser = Client()
    browser.post("/admin/login/?next=/admin/", {"username": helper.email, "password": PASSWORD})

    assert b"Act as this user" not in browser.get(f"/admin/accounts/user/{member.pk}/change/").content
    assert browser.get(f"/admin/accounts/user/{member.pk}/impersonate/").status_code == 403
    assert browser.post(f"/admin/accounts/user/{member.pk}/impersonate/", {"reason": "x"}).status_code == 403
    assert Client().get(f"/admin/accounts/user/{member.pk}/impersonate/").status_code == 302


@pytest.mark.parametrize("change", [{"deleted_at": timezone.now()}, {"is_active": False}])
def test_begin_impersonation_refuses_deleted_and_disabled_users(staff, member, change):
    User.objects.filter(pk=member.pk).update(**change)

    with pytest.raises(User.DoesNotExist):
        begin_link(staff, member)


@pytest.mark.commits
def test_redeem_impersonation_link_accepts_a_link_once_within_two_minutes(staff, member):
    token = begin_link(staff, member)

    def redeem(_):
        try:
            return post_auth(Client(), "impersonate", {"token": token}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(redeem, range(12)))[:2] == [200, 400]
    later_token = begin_link(staff, member)
    with pytest.raises(LinkRefused):
        impersonation.redeem_impersonation_link(
            later_token, device=known_devices.Device(), now=timezone.now() + timedelta(minutes=2, seconds=1)
        )
    for invalid_token in ("x", later_token[:-1], "é", ""):
        assert post_auth(Client(), "impersonate", {"token": invalid_token}).status_code == 400


def test_refresh_does_not_extend_an_impersonation(staff, member):
    api = impersonating_api(staff, member)
    Session.objects.filter(pk=api.session.pk).update(expires_at=timezone.now() + timedelta(minutes=4))
    refreshed = post_auth(api.client, "refresh", **BROWSER_HEADERS)
    claims = jwt.decode(refreshed.json()["access"], options={"verify_signature": False})
    seconds_left = claims["exp"] - timezone.now().timestamp()

    assert (api.session.expires_at - api.session.created_at) <= timedelta(minutes=30, seconds=1)
    assert 200 < seconds_left < 245
    assert claims["act"] == {"sub": str(staff.pk)}
    assert refreshed.json()["expires_in"] <= 240
    Session.objects.filter(pk=api.session.pk).update(expires_at=timezone.now())
    assert post_auth(api.client, "refresh", **BROWSER_HEADERS).status_code == 401


@pytest.mark.parametrize(
    "revoke",
    [
        lambda staff: users.set_active(staff.pk, False, actor=SYSTEM, now=timezone.now()),
        lambda staff: roles.set_roles(staff.pk, {"user"}, actor=SYSTEM, now=timezone.now()),
        lambda staff: sessions.close_all_sessions(staff.pk, actor=SYSTEM, now=timezone.now()),
        lambda staff: users.delete_user(staff.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
    ],
    ids=["disabled", "no longer staff", "signed out everywhere", "deleted"],
)
def test_impersonation_ends_when_the_impersonator_loses_the_permission(staff, member, revoke):
    UserFactory(role="admin")
    api = impersonating_api(staff, member)
    unopened_token = begin_link(staff, member)
    assert api.get("auth/me").status_code == 200

    revoke(staff)

    assert api.get("auth/me").json()["code"] == "token_revoked"
    assert post_auth(api.client, "refresh", **BROWSER_HEADERS).status_code == 401
    assert post_auth(Client(), "impersonate", {"token": unopened_token}).status_code == 400


def test_redeem_impersonation_link_sets_no_device_cookie(staff, member):
    response = post_auth(Client(), "impersonate", {"token": begin_link(staff, member)})

    assert "device" not in response.cookies
    assert Session.objects.get(impersonator=staff).proved_at == NEVER_PROVED_AT
