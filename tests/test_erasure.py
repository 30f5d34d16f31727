"""Erasing a person removes all of the person's data and keeps the data of other people."""

# ruff: noqa: F811 - fixtures are imported by name

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import erasure, users
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth
from audit.actors import SYSTEM
from audit.chain import checkpoints, sealing
from audit.chain.verification import verify_trail
from audit.models import Entry, Personal
from audit.tests.conftest import superuser, trail  # noqa: F401 - fixtures
from conftest import sign_in
from core import lifecycle, tenancy
from core.models import Mail
from core.storage import object_store
from sites.models import Site
from sites.tests.team import new_team
from tests.personal_data import (
    DELETED_ROWS_KEPT,
    EMAIL,
    FORMER_EMAIL,
    NAME,
    delete_and_expire,
    export_store,  # noqa: F401 - a fixture
    rows_containing,
    zebulon,  # noqa: F401 - a fixture
)

pytestmark = pytest.mark.django_db


def seal_audit_trail():
    """Seal all pending entries, and store a signed checkpoint."""
    while sealing.seal_pending():
        pass
    checkpoints.create_checkpoint(now=timezone.now())
    checkpoints.store_checkpoints(now=timezone.now())


def purge_users():
    return erasure.purge_users(timezone.now() - DELETED_ROWS_KEPT)


def close_and_purge(api):
    """Close the account; the purge removes it after 30 days, and not before."""
    api.delete("auth/me", if_match="*")
    deliver_and_read_mails(EMAIL)
    with tenancy.context(tenancy.SYSTEM):
        lifecycle.purge_expired(before=timezone.now() - DELETED_ROWS_KEPT)
        assert User.objects.deleted().filter(pk=api.user.pk).exists()
        deleted_at = timezone.now() - DELETED_ROWS_KEPT - timezone.timedelta(days=1)
        User.objects.deleted().update(deleted_at=deleted_at)
        Site.objects.deleted().update(deleted_at=deleted_at)
        lifecycle.purge_expired(before=timezone.now() - DELETED_ROWS_KEPT)


@pytest.mark.parametrize("method", ["purge", "erase_user"])
@pytest.mark.commits
def test_erasure_leaves_nothing_of_a_person_in_database_and_store(trail, zebulon, method):
    store = object_store.object_store()  # the store of the fixture `trail`
    seal_audit_trail()
    assert all(rows_containing(text) for text in (FORMER_EMAIL, EMAIL, NAME))
    assert store.keys("exports/")

    if method == "erase_user":
        call_command("erase_user", EMAIL.upper())
    else:
        close_and_purge(zebulon)

    seal_audit_trail()
    texts = (FORMER_EMAIL, EMAIL, NAME, "zebulon")
    assert [row for text in texts for row in rows_containing(text)] == []
    assert store.keys("exports/") == []
    for key in store.keys(""):
        assert "zebulon" not in store.read(key).decode(errors="replace").lower(), key
    verdict = verify_trail(now=timezone.now())
    assert (verdict.fault, verdict.erased > 10) == (None, True)
    # The post on the site of another owner stays. The invitation of a friend was to a site that is gone.
    assert rows_containing("Elsewhere")
    friend_rows = rows_containing("friend@example.com")
    assert [row for row in friend_rows if not row.startswith("core_mail")] == []


def test_erase_user_keeps_a_former_address_that_another_account_uses_now(zebulon):
    new_owner = UserFactory(email=FORMER_EMAIL, name="Heir")
    sign_in(new_owner).patch("auth/me", {"name": "The Heir"}, if_match="*")

    call_command("erase_user", EMAIL)

    assert User.objects.alive().filter(email=FORMER_EMAIL).exists()
    assert rows_containing(FORMER_EMAIL)
    assert rows_containing(EMAIL) == []


def test_erase_user_dry_run_reports_the_same_counts_and_a_second_run_does_nothing(zebulon, capsys):
    call_command("erase_user", EMAIL, "--dry-run", "--json")
    dry_run = json.loads(capsys.readouterr().out)
    assert rows_containing(EMAIL)
    call_command("erase_user", EMAIL, "--json")
    first_run = json.loads(capsys.readouterr().out)
    call_command("erase_user", EMAIL, "--json")
    second_run = json.loads(capsys.readouterr().out)

    assert {**dry_run, "dry_run": False} == first_run
    assert (first_run["accounts"], first_run["sites"], first_run["exports"]) == (1, 1, 1)
    assert not any(second_run.values())
    call_command("erase_user", "never-seen@example.com")
    assert "erased 0 audit values" in capsys.readouterr().out


def test_erase_user_dry_run_keeps_the_export(zebulon, export_store):
    call_command("erase_user", EMAIL, "--dry-run")

    assert export_store.keys("exports/")


def test_erase_user_refuses_the_last_administrator():
    UserFactory(email="only@example.com", role="admin")

    with pytest.raises(CommandError, match="last administrator"):
        call_command("erase_user", "only@example.com")


def test_erase_user_erases_an_address_without_an_account_from_the_audit_trail():
    post_auth(Client(), "login", {"email": "stranger@example.com", "password": "x"})
    post_auth(Client(), "password/forgot", {"email": "stranger@example.com"})
    deliver_and_read_mails("stranger@example.com")
    assert rows_containing("stranger@example.com")

    call_command("erase_user", "stranger@example.com")

    assert rows_containing("stranger@example.com") == []


def test_erase_user_removes_the_address_from_waiting_mails_to_others(api):
    team = new_team()
    owner = team.owner.user
    other = sign_in(UserFactory())
    team.owner.post(team.path("invitations"), {"email": "friend@example.com", "role": "viewer"})
    other.post("auth/email/change", {"email": owner.email})
    assert [mail for mail in Mail.objects.all() if owner.email in mail.context]

    call_command("erase_user", owner.email)

    assert [mail for mail in Mail.objects.all() if owner.email in mail.context] == []


def test_erase_user_of_staff_keeps_the_audit_entries_of_customers(api):
    UserFactory(role="admin")
    staff = sign_in(UserFactory(email="leaving@example.com", role="admin"))
    staff.patch(f"users/{api.user.pk}", {"name": "New Name"}, if_match="*")

    call_command("erase_user", "leaving@example.com")

    assert rows_containing("leaving@example.com") == []
    entry = Entry.objects.filter(event="user.changed", owner_id=api.user.pk).latest("id")
    fields = set(Personal.objects.filter(entry_id=entry.pk).values_list("field", flat=True))
    assert fields == {"label", "name_before", "name_after"}


def closing_connections(function):
    """`function` for a thread: it closes the database connections of the thread at its end."""

    def run():
        try:
            return function()
        finally:
            connections.close_all()

    return run


def test_purge_users_keeps_an_account_that_is_restored_while_it_runs(api):
    api.post("sites", {"name": "S", "subdomain": "keeps", "template": "bakery"})
    delete_and_expire(api.user)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            users.restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())
            purge = pool.submit(closing_connections(purge_users))
            time.sleep(0.5)
        assert purge.result(10) == 0

    client = sign_in(User.objects.alive().get(pk=api.user.pk))
    assert client.get("sites").json()["results"][0]["name"] == "S"


@pytest.mark.parametrize("repetition", range(5))
@pytest.mark.commits
def test_purge_users_and_restore_user_in_parallel_keep_all_or_nothing(api, repetition):
    api.post("sites", {"name": "S", "subdomain": "all-or-nothing", "template": "bakery"})
    delete_and_expire(api.user)

    def restore_user():
        try:
            users.restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())
        except User.DoesNotExist:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(closing_connections(function)) for function in (purge_users, restore_user)]
        purged, restored = (future.result(20) for future in futures)  # a deadlock would time out

    assert bool(purged) != restored
    with tenancy.context(tenancy.SYSTEM):
        user_exists = User.objects.alive().filter(pk=api.user.pk).exists()
        assert (user_exists, Site.objects.alive().exists()) == (restored, restored)
