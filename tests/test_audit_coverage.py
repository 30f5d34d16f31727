"""Every change by API, admin, command or job writes an audit entry, and no entry holds a secret."""

import json
import logging

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import make_refresh_token
from accounts.models import User
from accounts.services import users
from accounts.tests.factories import UserFactory
from audit import actors, server_log
from audit.actors import SYSTEM
from audit.models import Entry, Personal
from audit.services import record
from conftest import PASSWORD, sign_in
from core import tenancy
from core.http.preconditions import ANY_VERSION
from core.tasks import purge_deleted
from sites.models import Site
from sites.tests.factories import SiteFactory
from tests.operations import MUTATING_OPERATIONS, call_operation
from tests.world import new_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]
ACTOR_KINDS = {"forgot": "anonymous", "resend": "anonymous", "impersonate": "staff"}  # by end of path


def events(**filters):
    """The events of the matching entries, oldest first."""
    return list(Entry.objects.filter(**filters).order_by("id").values_list("event", flat=True))


@pytest.mark.parametrize(("method", "path"), MUTATING_OPERATIONS, ids=lambda part: part)
def test_audit_record_is_written_by_every_mutating_operation(method, path, password_hash):
    world = new_world(password_hash)
    request_id = f"recorded-{world.site.pk}"

    response = call_operation(world, method, path, X_Request_ID=request_id)

    assert 200 <= response.status_code < 300, response.content
    entries = Entry.objects.filter(request_id=request_id)
    actor_kind = ACTOR_KINDS.get(path.rpartition("/")[2], "user")
    assert actor_kind in set(entries.values_list("actor_kind", flat=True))
    networks = Personal.objects.filter(entry_id__in=entries.values("id"), field="network")
    assert list(networks.values_list("value", flat=True)) == ["127.0.0.0/24"] * entries.count()


def test_audit_record_of_a_failed_login_keeps_the_address_erasable():
    person = UserFactory()
    credentials = {"email": person.email, "password": "wrong"}
    Client().post("/api/v1/auth/login", credentials, content_type="application/json")

    (entry,) = Entry.objects.filter(event="sign_in.failed", owner_id=person.pk)
    assert Personal.objects.get(entry_id=entry.pk, field="tried").value == person.email
    assert person.email not in entry.facts + entry.personal


def test_audit_record_is_not_written_by_a_refused_change(api):
    site = SiteFactory(owner=api.user)

    assert api.patch(f"sites/{site.pk}", {"name": "x"}, if_match=99).status_code == 412

    assert events(site_id=site.pk) == []


def test_audit_record_of_the_admin_names_the_member_of_staff(password_hash):
    staff = UserFactory(email="recorder@example.com", role="admin", password=password_hash)
    client = Client()
    client.post("/admin/login/", {"username": staff.email, "password": PASSWORD})
    site = SiteFactory()

    client.get(f"/admin/sites/site/{site.pk}/change/")
    client.post("/admin/sites/site/", {"action": "publish", "_selected_action": [str(site.pk)]})

    assert events(site_id=site.pk) == ["admin.viewed", "site.published"]
    entries = Entry.objects.filter(site_id=site.pk)
    assert {(entry.actor_kind, entry.actor_id) for entry in entries} == {("staff", staff.pk)}


def test_audit_record_of_a_command_names_the_system(monkeypatch):
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    call_command("create_admin", "commanded@example.com", verbosity=0)

    created = User.objects.get(email="commanded@example.com")
    assert {entry.actor_kind for entry in Entry.objects.filter(owner_id=created.pk)} == {"system"}


def test_audit_record_of_purge_deleted_remains_without_personal_values():
    site = SiteFactory()
    users.delete_user(site.owner_id, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    long_ago = timezone.now() - timezone.timedelta(days=40)
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=site.pk).update(deleted_at=long_ago)
    User.objects.filter(pk=site.owner_id).update(deleted_at=long_ago)

    purge_deleted.apply().get()

    assert events(site_id=site.pk) == ["site.deleted", "site.purged"]
    assert events(owner_id=site.owner_id, subject_type="user")[-1] == "user.purged"
    entries_of_owner = Entry.objects.filter(owner_id=site.owner_id)
    assert Personal.objects.filter(entry_id__in=entries_of_owner.values("id")).count() == 0


def test_audit_entries_hold_no_secret(password_hash):
    person = sign_in(UserFactory(password=password_hash))
    person.patch("auth/me", {"name": "Secret Keeper"}, if_match="*")
    users.set_password(person.user.pk, PASSWORD + "!", actor=SYSTEM, now=timezone.now())

    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(string_agg(e::text, ' '), '') FROM audit_entry e")
        entries = cursor.fetchone()[0]
        cursor.execute("SELECT coalesce(string_agg(p.value, ' '), '') FROM audit_personal p")
        personal_values = cursor.fetchone()[0]
    secrets = (
        PASSWORD,
        "argon2",
        make_refresh_token(person.session.pk, 1).rpartition(".")[2],
        person.access.rpartition(".")[2],
    )
    assert not any(secret in entries + personal_values for secret in secrets)
    assert "Secret Keeper" not in entries


def test_list_audit_shows_own_entries_and_all_of_them_with_the_permission(api, other):
    site = SiteFactory(owner=api.user)
    api.post(f"sites/{site.pk}/publish")
    admin = sign_in(UserFactory(role="admin"))

    def listed_events(client, query):
        return [row["event"] for row in client.get(f"audit?{query}").json()["results"]]

    own_entries = api.get(f"audit?site={site.pk}").json()["results"]
    assert [(row["event"], row["actor"]["id"], row["subject"]["label"]) for row in own_entries] == [
        ("site.published", str(api.user.pk), "A site")
    ]
    assert listed_events(other, f"site={site.pk}") == []
    assert listed_events(admin, f"site={site.pk}") == ["site.published"]
    assert listed_events(api, "event=site.published&search=A site") == ["site.published"]


def test_list_audit_hides_the_network_of_others_from_customers(api, other):
    staff = sign_in(UserFactory(role="admin"))
    staff.client.defaults["REMOTE_ADDR"] = "198.51.100.9"
    api.client.defaults["REMOTE_ADDR"] = "203.0.113.9"
    staff.patch(f"users/{api.user.pk}", {"name": "By staff"}, if_match="*")
    api.patch("auth/me", {"name": "By the owner"}, if_match="*")
    for actor in (actors.staff(staff.user), SYSTEM):  # in the admin, and in a job that a request started
        with actors.request_origin(network="198.51.100.0/24"):
            record("user.changed", actor=actor, subject=api.user)

    def networks(client):
        rows = client.get(f"audit?event=user.changed&subject={api.user.pk}").json()["results"]
        return [row["personal"].get("network") for row in rows]

    assert networks(api) == [None, None, "203.0.113.0/24", None]
    assert "198.51.100" not in str(api.get("audit").json())
    assert networks(staff) == ["198.51.100.0/24"] * 2 + ["203.0.113.0/24", "198.51.100.0/24"]


@pytest.mark.parametrize(
    "query",
    ["site=x", "since=yesterday", "until=2026-01-01", "search=", "actor=1", "event=" + "x" * 101, "owner=1"],
)
def test_list_audit_refuses_malformed_filters(api, query):
    assert api.get(f"audit?{query}").status_code == 400


@pytest.mark.parametrize("name", ["since", "until"])
def test_list_audit_accepts_the_times_of_the_api_and_says_which_they_are(api, name):
    for time in ("1970-01-01t00:00:00z", "2200-12-31T23:59:59Z", "2026-03-01T12:00:00%2B14:00"):
        assert api.get(f"audit?{name}={time}").status_code == 200
    for time in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59%2B14:00", "2026-03-01"):
        refused = api.get(f"audit?{name}={time}")
        assert refused.status_code == 400
        assert "such as 2026-03-01T12:00:00Z" in refused.json()["errors"][0]["detail"]


def test_list_audit_queries_do_not_grow_with_rows(api, django_assert_num_queries):
    for number in range(12):
        api.patch("auth/me", {"name": f"Name {number}"}, if_match="*")

    for limit in (1, 10):
        with django_assert_num_queries(4):  # the caller's row and roles, the entries, their personal values
            assert len(api.get(f"audit?limit={limit}").json()["results"]) == limit


def test_list_logs_requires_the_permission_and_shows_redacted_lines(api):
    handler = server_log.DatabaseHandler()
    message = "no answer from redis://:hunter2@127.0.0.1/0\x00"
    line = logging.LogRecord("shop", logging.ERROR, __file__, 1, message, None, None)
    server_log.insert_log_lines([server_log._row(line)])
    admin = sign_in(UserFactory(role="admin"))

    (row,) = admin.get("logs?level=error&search=answer").json()["results"]

    redacted = "no answer from redis[redacted]127.0.0.1/0"
    assert (row["level"], row["logger"], row["message"]) == ("error", "shop", redacted)
    assert admin.get(f"logs/{row['id']}").json() == row
    assert (api.get("logs").status_code, api.get(f"logs/{row['id']}").status_code) == (403, 403)
    for level in ("info", "debug", "ERROR", ""):  # lines of these levels are never stored
        refused = admin.get(f"logs?level={level}")
        assert (refused.status_code, refused.json()["errors"][0]["detail"]) == (
            400,
            "Choose one of warning, error, critical.",
        )
    assert server_log.delete_log_lines(before=timezone.now() + timezone.timedelta(minutes=1)) == 1
    assert handler.dropped == 0


def test_database_handler_drops_lines_when_its_queue_is_full():
    handler = server_log.DatabaseHandler()
    handler.lines.maxsize = 2
    handler._writer = type("BusyWriter", (), {"is_alive": lambda self: True})()
    for number in range(5):
        handler.emit(logging.LogRecord("x", logging.WARNING, __file__, 1, f"line {number}", None, None))

    assert (handler.lines.qsize(), handler.dropped) == (2, 3)
    assert json.dumps(handler.dropped)
