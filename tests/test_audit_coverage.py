"""Every change that the API, the admin, a command or a job makes leaves its entry, and no entry holds a
secret.
"""

import json

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import refresh_token
from accounts.models import User
from accounts.services import users
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry, Personal
from conftest import PASSWORD, sign_in
from core.http.preconditions import ANY_VERSION
from core.tasks import purge_deleted
from sites.models import Site
from sites.tests.factories import SiteFactory
from tests.operations import MUTATING_OPERATIONS, call_operation
from tests.world import new_world

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("issuer")]


def events(**about):
    return list(Entry.objects.filter(**about).order_by("id").values_list("event", flat=True))


@pytest.mark.parametrize(("method", "path"), MUTATING_OPERATIONS, ids=lambda part: part)
def test_every_mutating_operation_leaves_an_entry_with_its_request(method, path, password_hash):
    world = new_world(password_hash)
    request_id = f"recorded-{world.site.pk}"

    answer = call_operation(world, method, path, X_Request_ID=request_id)

    assert 200 <= answer.status_code < 300, answer.content
    made = Entry.objects.filter(request_id=request_id)
    others = {"forgot": "anonymous", "resend": "anonymous", "impersonate": "staff"}
    assert others.get(path.rpartition("/")[2], "user") in set(made.values_list("actor_kind", flat=True))
    networks = Personal.objects.filter(entry_id__in=made.values("id"), field="network").values_list(
        "value", flat=True
    )
    assert list(networks) == ["127.0.0.0/24"] * made.count()


def test_failed_sign_ins_are_recorded_and_what_was_tried_can_be_erased():
    person = UserFactory()
    Client().post(
        "/api/v1/auth/login", {"email": person.email, "password": "wrong"}, content_type="application/json"
    )

    (entry,) = Entry.objects.filter(event="sign_in.failed", owner_id=person.pk)
    assert Personal.objects.get(entry_id=entry.pk, field="tried").value == person.email
    assert person.email not in entry.facts + entry.personal


def test_a_refused_change_leaves_no_entry(api):
    site = SiteFactory(owner=api.user)

    assert api.patch(f"sites/{site.pk}", {"name": "x"}, if_match=99).status_code == 412

    assert events(site_id=site.pk) == []


def test_admin_buttons_and_reads_are_recorded_with_who_pressed(password_hash):
    staff = UserFactory(email="recorder@example.com", role="admin", password=password_hash)
    client = Client()
    client.post("/admin/login/", {"username": staff.email, "password": PASSWORD})
    site = SiteFactory()

    client.get(f"/admin/sites/site/{site.pk}/change/")
    client.post("/admin/sites/site/", {"action": "publish", "_selected_action": [str(site.pk)]})

    assert events(site_id=site.pk) == ["admin.viewed", "site.published"]
    entries = Entry.objects.filter(site_id=site.pk)
    assert {(entry.actor_kind, entry.actor_id) for entry in entries} == {("staff", staff.pk)}


def test_commands_and_jobs_are_recorded_as_the_system(monkeypatch):
    monkeypatch.setenv("ADMIN_PASSWORD", PASSWORD)
    call_command("create_admin", "commanded@example.com", verbosity=0)
    made = User.objects.get(email="commanded@example.com")
    gone = SiteFactory()
    users.delete_user(gone.owner_id, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    long_ago = timezone.now() - timezone.timedelta(days=40)
    from core import tenancy

    with tenancy.context(tenancy.SYSTEM):
        Site.objects.filter(pk=gone.pk).update(deleted_at=long_ago)
    User.objects.filter(pk=gone.owner_id).update(deleted_at=long_ago)
    purge_deleted.apply().get()

    assert {entry.actor_kind for entry in Entry.objects.filter(owner_id=made.pk)} == {"system"}
    assert events(site_id=gone.pk) == ["site.deleted", "site.purged"]
    assert events(owner_id=gone.owner_id, subject_type="user")[-1] == "user.purged"
    assert (
        Personal.objects.filter(
            entry_id__in=Entry.objects.filter(owner_id=gone.owner_id).values("id")
        ).count()
        == 0
    )


def test_no_entry_of_this_run_holds_a_secret(password_hash):
    """Everything above and every other test of this process has written here."""
    person = sign_in(UserFactory(password=password_hash))
    person.patch("auth/me", {"name": "Secret Keeper"}, if_match="*")
    users.set_password(person.user.pk, PASSWORD + "!", actor=SYSTEM, now=timezone.now())

    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(string_agg(e::text, ' '), '') FROM audit_entry e")
        entries = cursor.fetchone()[0]
        cursor.execute("SELECT coalesce(string_agg(p.value, ' '), '') FROM audit_personal p")
        values = cursor.fetchone()[0]
    secrets = (
        PASSWORD,
        "argon2",
        refresh_token(person.session.pk, 1).rpartition(".")[2],
        person.access.rpartition(".")[2],
    )
    assert not any(secret in entries + values for secret in secrets)
    assert "Secret Keeper" not in entries


def test_people_see_their_own_trail_and_holders_of_the_permission_all_of_it(api, other):
    site = SiteFactory(owner=api.user)
    api.post(f"sites/{site.pk}/publish")
    reader = sign_in(UserFactory(role="admin"))

    mine = api.get(f"audit?site={site.pk}").json()["results"]
    assert [(row["event"], row["actor"]["id"], row["subject"]["label"]) for row in mine] == [
        ("site.published", str(api.user.pk), "A site")
    ]
    assert other.get(f"audit?site={site.pk}").json()["results"] == []
    assert [row["event"] for row in reader.get(f"audit?site={site.pk}").json()["results"]] == [
        "site.published"
    ]
    assert [
        row["event"] for row in api.get("audit?event=site.published&search=A site").json()["results"]
    ] == ["site.published"]


@pytest.mark.parametrize(
    "query",
    ["site=x", "since=yesterday", "until=2026-01-01", "search=", "actor=1", "event=" + "x" * 101, "owner=1"],
)
def test_filters_of_the_trail_that_are_none_are_refused(api, query):
    assert api.get(f"audit?{query}").status_code == 400


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1969-12-31T23:59:59+14:00"]
)
@pytest.mark.parametrize("name", ["since", "until"])
def test_any_moment_may_be_asked_for(api, name, moment):
    assert api.get(f"audit?{name}={moment.replace('+', '%2B')}").status_code == 200


def test_a_page_of_the_trail_costs_the_same_for_many_rows(api, django_assert_num_queries):
    for number in range(12):
        api.patch("auth/me", {"name": f"Name {number}"}, if_match="*")

    for limit in (1, 10):
        with django_assert_num_queries(4):  # the caller's row and roles, the entries, their personal values
            assert len(api.get(f"audit?limit={limit}").json()["results"]) == limit


def test_logs_are_for_those_who_may_read_them(api):
    import logging

    from audit import server_log

    handler = server_log.DatabaseHandler()
    line = logging.LogRecord(
        "shop", logging.ERROR, __file__, 1, "no answer from redis://:hunter2@127.0.0.1/0\x00", None, None
    )
    server_log.write([server_log._row(line)])
    reader = sign_in(UserFactory(role="admin"))

    (found,) = reader.get("logs?level=error&search=answer").json()["results"]
    assert (found["level"], found["logger"], found["message"]) == (
        "error",
        "shop",
        "no answer from redis[redacted]127.0.0.1/0",
    )
    assert reader.get(f"logs/{found['id']}").json() == found
    assert (api.get("logs").status_code, api.get(f"logs/{found['id']}").status_code) == (403, 403)
    assert server_log.delete_expired(before=timezone.now() + timezone.timedelta(minutes=1)) == 1
    assert handler.dropped == 0


def test_a_full_queue_of_lines_drops_and_never_blocks():
    import logging

    from audit import server_log

    handler = server_log.DatabaseHandler()
    handler.lines.maxsize = 2
    handler._writer = type("Busy", (), {"is_alive": lambda self: True})()
    for number in range(5):
        handler.emit(logging.LogRecord("x", logging.WARNING, __file__, 1, f"line {number}", None, None))

    assert (handler.lines.qsize(), handler.dropped) == (2, 3)
    assert json.dumps(handler.dropped)
