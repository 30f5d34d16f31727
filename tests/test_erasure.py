"""Being forgotten: nothing of a person is found anywhere afterwards, and nothing of others is lost."""

# ruff: noqa: F811 - fixtures are imported by name

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.services import erasure, users
from accounts.tests.conftest import mailbox  # noqa: F401 - a fixture
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth
from audit.actors import SYSTEM
from audit.chain import checkpoints, sealing
from audit.chain.verification import verify_trail
from audit.models import Entry, Personal
from audit.tests.conftest import superuser, trail  # noqa: F401 - fixtures
from conftest import sign_in
from core import lifecycle, tenancy
from core.http.preconditions import ANY_VERSION
from core.models import Mail
from core.storage import object_store
from sites.models import Site
from sites.tests.team import new_team

# Fixtures among them.
from tests.test_personal_data import NAME, NEW, OLD, close, store, where, zebulon  # noqa: F401

pytestmark = pytest.mark.django_db


def seal():
    while sealing.seal_pending():
        pass
    checkpoints.create_checkpoint(now=timezone.now())
    checkpoints.store_checkpoints(now=timezone.now())


@pytest.mark.parametrize("way", ["after 30 days", "by command"])
@pytest.mark.commits
def test_nothing_of_an_erased_person_is_found_anywhere(trail, zebulon, way):
    store = object_store.object_store()  # the one of `trail`
    seal()
    assert all(where(word) for word in (OLD, NEW, NAME))
    assert store.keys("exports/")

    if way == "by command":
        call_command("erase_user", NEW.upper())
    else:
        zebulon.delete("auth/me", if_match="*")
        deliver_and_read_mails(NEW)
        with tenancy.context(tenancy.SYSTEM):
            lifecycle.purge_expired(before=timezone.now() - timedelta(days=30))
            assert User.objects.deleted().filter(pk=zebulon.user.pk).exists()
            User.objects.deleted().update(deleted_at=timezone.now() - timedelta(days=31))
            Site.objects.deleted().update(deleted_at=timezone.now() - timedelta(days=31))
            lifecycle.purge_expired(before=timezone.now() - timedelta(days=30))

    seal()
    assert [found for word in (OLD, NEW, NAME, "zebulon") for found in where(word)] == []
    assert store.keys("exports/") == []
    for key in store.keys(""):
        body = store.read(key).decode(errors="replace").lower()
        assert "zebulon" not in body, key
    verdict = verify_trail(now=timezone.now())
    assert (verdict.fault, verdict.erased > 10) == (None, True)
    # what others made is as it was
    assert where("Elsewhere")
    assert [
        row for row in where("friend@example.com") if not row.startswith("core_mail")
    ] == []  # their site is gone


def test_an_address_that_became_somebody_elses_is_not_erased_with_its_former_owner(zebulon):
    heir = UserFactory(email=OLD, name="Heir")
    sign_in(heir).patch("auth/me", {"name": "The Heir"}, if_match="*")

    call_command("erase_user", NEW)

    assert User.objects.alive().filter(email=OLD).exists()
    assert where(OLD)
    assert where(NEW) == []


def test_the_command_counts_first_and_may_be_repeated(zebulon, capsys):
    call_command("erase_user", NEW, "--dry-run", "--json")
    would = json.loads(capsys.readouterr().out)
    assert where(NEW)
    call_command("erase_user", NEW, "--json")
    did = json.loads(capsys.readouterr().out)
    call_command("erase_user", NEW, "--json")
    again = json.loads(capsys.readouterr().out)

    assert {**would, "dry_run": False} == did
    assert (did["accounts"], did["sites"], did["exports"]) == (1, 1, 1)
    assert not any(again.values())
    call_command("erase_user", "never-seen@example.com")
    assert "erased 0 audit values" in capsys.readouterr().out


def test_a_dry_run_leaves_the_archive_where_it_is(zebulon, store):
    call_command("erase_user", NEW, "--dry-run")

    assert store.keys("exports/")


def test_the_last_administrator_is_not_erased():
    UserFactory(email="only@example.com", role="admin")

    with pytest.raises(CommandError, match="last administrator"):
        call_command("erase_user", "only@example.com")


def test_an_address_without_an_account_is_erased_from_the_trail():
    post_auth(Client(), "login", {"email": "stranger@example.com", "password": "x"})
    post_auth(Client(), "password/forgot", {"email": "stranger@example.com"})
    deliver_and_read_mails("stranger@example.com")
    assert where("stranger@example.com")

    call_command("erase_user", "stranger@example.com")

    assert where("stranger@example.com") == []


def test_mails_to_others_that_still_wait_do_not_tell_an_erased_address(api):
    team = new_team()
    owner = team.owner.user
    other = sign_in(UserFactory())
    team.owner.post(team.path("invitations"), {"email": "friend@example.com", "role": "viewer"})
    other.post("auth/email/change", {"email": owner.email})
    assert [mail for mail in Mail.objects.all() if owner.email in mail.facts]

    call_command("erase_user", owner.email)

    assert [mail for mail in Mail.objects.all() if owner.email in mail.facts] == []


def test_erasing_staff_leaves_the_trail_of_customers(api):
    UserFactory(role="admin")
    staff = sign_in(UserFactory(email="leaving@example.com", role="admin"))
    staff.patch(f"users/{api.user.pk}", {"name": "New Name"}, if_match="*")

    call_command("erase_user", "leaving@example.com")

    assert where("leaving@example.com") == []
    entry = Entry.objects.filter(event="user.changed", owner_id=api.user.pk).latest("id")
    fields = set(Personal.objects.filter(entry_id=entry.pk).values_list("field", flat=True))
    assert fields == {"label", "name_before", "name_after"}


def closed_long_ago(user):
    users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION)
    long_ago = timezone.now() - timedelta(days=31)
    User.objects.get_queryset().filter(pk=user.pk).update(deleted_at=long_ago)
    with tenancy.context(tenancy.SYSTEM):
        Site.objects.deleted().update(deleted_at=long_ago)


def in_a_thread(act):
    def run():
        try:
            return act()
        finally:
            connections.close_all()

    return run


def test_who_is_restored_while_the_purge_runs_keeps_everything(api):
    api.post("sites", {"name": "S", "subdomain": "keeps", "template": "bakery"})
    closed_long_ago(api.user)
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            users.restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())
            purge = pool.submit(in_a_thread(lambda: erasure.purge_users(timezone.now() - timedelta(days=30))))
            time.sleep(0.5)
        assert purge.result(10) == 0

    assert sign_in(User.objects.alive().get(pk=api.user.pk)).get("sites").json()["results"][0]["name"] == "S"


@pytest.mark.parametrize("round_", range(5))
@pytest.mark.commits
def test_purging_and_restoring_at_once_leave_all_or_nothing_and_never_deadlock(api, round_):
    api.post("sites", {"name": "S", "subdomain": "all-or-nothing", "template": "bakery"})
    closed_long_ago(api.user)

    def restore():
        try:
            users.restore_user(api.user.pk, actor=SYSTEM, now=timezone.now())
        except User.DoesNotExist:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        acts = [lambda: erasure.purge_users(timezone.now() - timedelta(days=30)), restore]
        purged, restored = (done.result(20) for done in [pool.submit(in_a_thread(act)) for act in acts])

    assert bool(purged) != restored
    with tenancy.context(tenancy.SYSTEM):
        assert (User.objects.alive().filter(pk=api.user.pk).exists(), Site.objects.alive().exists()) == (
            restored,
            restored,
        )
