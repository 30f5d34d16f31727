"""Runs of this installation: one at a time, each a row, and the store decides which count."""

import base64
import os
import secrets
import subprocess
import sys
import threading
import time
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from backups import config, selectors
from backups.engine import backup as engine
from backups.engine.encryption import new_identity
from backups.engine.source import Snapshot
from backups.models import BackupRun, BackupState, Check
from backups.services import checks, retention, runs, worker
from backups.services.checks import queue_due_checks
from backups.services.runs import queue_due
from core.storage.database import MIGRATION_LOCK_ID
from sites.tests.factories import SiteFactory
from tests.stack import ROOT

pytestmark = [pytest.mark.django_db, pytest.mark.commits]


@pytest.fixture(autouse=True)
def folder(settings, tmp_path):
    settings.BACKUP_STORE_URL = f"file://{tmp_path}/store"
    return tmp_path / "store"


def take(*, provable=True, **options):
    with runs.runner() as mine:
        assert mine
        return runs.take_run(runs.queue_run(actor=SYSTEM, provable=provable, **options))


def packs(folder):
    return sorted(path for path in (folder / "packs").rglob("*") if path.is_file())


def test_the_first_run_is_full_and_the_next_ships_what_changed(folder):
    SiteFactory()
    first = take()
    idle = take()
    UserFactory(name="Somebody new")
    third = take()

    assert [run.error for run in (first, idle, third)] == [""] * 3
    assert [run.kind for run in (first, idle, third)] == ["full", "increment", "increment"]
    assert first.rows > 0
    assert third.shipped_bytes < first.shipped_bytes / 3
    assert first.stored_bytes < third.stored_bytes <= sum(path.stat().st_size for path in packs(folder))
    assert (
        Entry.objects.filter(event="backup.finished", subject_id__in=[first.pk, idle.pk, third.pk]).count()
        == 3
    )
    assert take(full=True).kind == "full"


def test_one_run_a_day_is_summed_and_can_be_proven():
    first = take(provable=False)
    second = take(provable=False)

    assert (first.provable, second.provable) == (True, False)
    assert checks.drill_run(first)
    with pytest.raises(Exception, match="not summed"), transaction.atomic():
        checks.queue_check(second, Check.Kind.DRILL, actor=SYSTEM)
    with pytest.raises(Exception, match="not summed"):
        checks.drill_run(second)
    UserFactory()
    BackupRun.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(hours=24))
    third = take(provable=False)
    assert (third.kind, third.provable) == ("increment", True)
    assert checks.drill_run(third)


def test_what_names_visitors_of_a_day_is_in_no_backup():
    run = take()

    tables = {table.key for table in config.repository().manifest(run.name).tables}
    assert {"public.accounts_user", "public.analytics_term", "public.audit_personal"} <= tables
    assert not tables & {"public.analytics_salt", "public.backups_backupstate"}


def test_only_one_works_at_a_time():
    began = threading.Event()
    over = threading.Event()

    def hold():
        with runs.runner():
            began.set()
            over.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    began.wait(10)
    run = runs.queue_run(actor=SYSTEM)
    assert worker.work(now=timezone.now()) == 0
    over.set()
    thread.join(10)

    assert worker.work(now=timezone.now()) >= 1
    run.refresh_from_db()
    assert run.status == "done"
    assert BackupRun.objects.count() == 1


def test_by_schedule_it_leaves_others_their_time_and_by_hand_it_does_not(settings, monkeypatch):
    settings.BACKUP_PACE = 0.25
    slept = []
    readers = []
    reader = Snapshot.reader
    monkeypatch.setattr(Snapshot, "reader", lambda snapshot: readers.append(1) or reader(snapshot))
    monkeypatch.setattr(worker, "queue_due_checks", lambda now: None)
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=time.monotonic, sleep=slept.append))
    take()
    assert (slept, len(readers)) == ([], 2)

    readers.clear()
    runs.queue_run(actor=SYSTEM, full=True)
    began = time.monotonic()
    worker.work(now=timezone.now())
    assert 0 < sum(slept) <= 3 * (time.monotonic() - began)
    assert len(readers) == 1

    slept.clear()
    monkeypatch.setattr(engine.sources, "check", lambda source: time.sleep(1))  # to wait is no work
    runs.queue_run(actor=SYSTEM, full=True)
    began = time.monotonic()
    worker.work(now=timezone.now())
    assert 0 < sum(slept) <= 3 * (time.monotonic() - began - 1)

    slept.clear(), readers.clear()
    monkeypatch.setattr(engine, "PATIENCE", 0)  # the time for it is over
    runs.queue_run(actor=SYSTEM, full=True)
    worker.work(now=timezone.now())
    assert (slept, len(readers)) == ([], 2)


def test_asking_twice_is_one_run():
    asked = {runs.queue_run(actor=SYSTEM).pk for _ in range(3)}

    assert len(asked) == 1


def test_when_the_next_is_due(settings):
    settings.BACKUP_EVERY = timedelta(hours=6)
    now = timezone.now()
    first = queue_due(now=now)
    assert first is not None, "a fresh installation begins at once"
    assert queue_due(now=now + timedelta(hours=7)) is None, "one waits"

    def ended(run, status, at):
        BackupRun.objects.filter(pk=run.pk).update(status=status, created_at=at, taken_at=at, name="x")

    ended(first, "done", now)
    assert queue_due(now=now + timedelta(hours=5, minutes=59)) is None
    second = queue_due(now=now + timedelta(hours=6))
    ended(second, "failed", now)
    assert queue_due(now=now + timedelta(minutes=9)) is None
    third = queue_due(now=now + timedelta(minutes=10))
    ended(third, "failed", now)
    assert queue_due(now=now + timedelta(minutes=19)) is None
    fourth = queue_due(now=now + timedelta(minutes=20))
    ended(fourth, "stopped", now)
    assert queue_due(now=now + timedelta(minutes=2)) is not None


def test_a_store_that_is_full_or_away_fails_the_run_and_keeps_the_last(folder, settings):
    good = take()
    UserFactory()
    before = sorted(folder.rglob("*"))
    settings.BACKUP_STORE_URL = f"file://{ROOT}/manage.py/not-a-folder"
    bad = take()

    assert (bad.status, "store" in bad.error) == ("failed", True)
    assert Entry.objects.filter(event="backup.failed", subject_id=bad.pk).count() == 1
    assert any("failed" in text for text in selectors.warnings(now=timezone.now()))
    settings.BACKUP_STORE_URL = f"file://{folder}"
    assert sorted(folder.rglob("*")) == before
    again = take()
    assert (again.kind, again.status) == ("increment", "done")
    assert checks.drill_run(again)
    assert good.pk != again.pk


def test_a_store_that_lost_something_gets_everything_again(folder):
    take()
    packs(folder)[0].unlink()

    again = take()

    assert (again.kind, again.status) == ("full", "done")
    assert checks.drill_run(again)


def test_a_migration_stops_a_run_and_gets_its_locks(monkeypatch):
    """The run notices within a second; what the migration waits for is free within its lock timeout."""
    from backups.engine import backup

    take()
    genuine = backup.sources.sequences
    began = threading.Event()

    def slowly(reader):
        began.set()
        for _ in range(100):
            threading.Event().wait(0.1)
            watched[0].step()
        return genuine(reader)

    watched = []
    take_genuine = backup.take
    monkeypatch.setattr(backup.sources, "sequences", slowly)
    monkeypatch.setattr(
        "backups.services.runs.backup.take", lambda plan: watched.append(plan) or take_genuine(plan)
    )
    ended = []

    def working():
        ended.append(take())
        connection.close()

    thread = threading.Thread(target=working)
    thread.start()
    assert began.wait(20)
    with psycopg.connect(config.dsn(), autocommit=True) as migration:
        migration.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK_ID])
        migration.execute("SET lock_timeout = '5s'")
        migration.execute("ALTER TABLE core_slot ADD COLUMN passing int")
        migration.execute("ALTER TABLE core_slot DROP COLUMN passing")
    thread.join(20)

    assert (ended[0].status, "migration" in ended[0].error) == ("stopped", True)


KILLED = """
import os, sys, django
django.setup()
from django.utils import timezone
from audit.actors import SYSTEM
from backups.engine.backup import Taken
from backups.services import runs
where = sys.argv[1]
publish, finish = Taken.publish, runs._finish
def dying(self, store):
    if where == "before": os._exit(9)
    publish(self, store)
    os._exit(9)
if where == "claimed":
    runs._take = lambda *a, **k: os._exit(9)
else:
    Taken.publish = dying
with runs.runner():
    runs.take_run(runs.queue_run(actor=SYSTEM, provable=True))
"""


@pytest.mark.parametrize("where", ["claimed", "before", "after"])
def test_a_run_whose_process_is_killed_counts_if_the_store_has_it(folder, where):
    take()
    UserFactory(name="Between the two")
    facts = connection.settings_dict
    environ = {
        **os.environ,
        "BACKUP_STORE_URL": f"file://{folder}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": f"postgresql://{facts['USER']}:{facts['PASSWORD']}@{facts['HOST']}:{facts['PORT']}/{facts['NAME']}",
    }
    done = subprocess.run([sys.executable, "-c", KILLED, where], cwd=ROOT, env=environ, timeout=60)
    assert done.returncode == 9
    assert BackupRun.objects.filter(status="running").count() == 1

    with runs.runner() as mine:
        assert mine, "the lock went with the process"
        runs.reconcile(now=timezone.now())

    killed = BackupRun.objects.order_by("-id")[0]
    assert killed.status == ("done" if where == "after" else "failed")
    assert BackupState.objects.get().pending is None
    following = take()
    assert following.kind == "increment"
    assert checks.drill_run(following)
    if where == "after":
        assert checks.drill_run(killed)


def test_a_drill_proves_and_harm_is_named(folder):
    run = take()
    look = checks.queue_check(run, Check.Kind.DRILL, actor=SYSTEM)
    with runs.runner():
        checks.do_check(look)
    run.refresh_from_db()
    assert (look.status, run.proven_at is not None) == ("done", True)
    assert "are what they were" in look.result

    later = take(full=True)
    path = next(path for path in packs(folder) if later.pk.hex in str(path))
    path.write_bytes(path.read_bytes()[:-3] + b"abc")
    again = checks.queue_check(later, Check.Kind.DRILL, actor=SYSTEM)
    verified = checks.queue_check(later, Check.Kind.VERIFY, actor=SYSTEM)
    with runs.runner():
        checks.do_check(again)
        checks.do_check(verified)
    later.refresh_from_db()
    assert (again.status, verified.status, later.proven_at) == ("failed", "failed", None)
    assert later.pk.hex in again.error
    with psycopg.connect(config.dsn(), autocommit=True) as looking:
        name = psycopg.conninfo.conninfo_to_dict(config.dsn())["dbname"]
        left = looking.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [f"{name}_drill_"]
        ).fetchall()
    assert left == []


def test_a_drill_and_a_scrub_come_by_themselves_and_drift_asks_for_everything(folder):
    worker.work(now=timezone.now())
    assert sorted(Check.objects.values_list("kind", "status", "error")) == [
        ("drill", "done", ""),
        ("scrub", "done", ""),
    ]
    run = BackupRun.objects.get()
    assert run.proven_at is not None
    queue_due_checks(now=timezone.now())
    assert Check.objects.count() == 2, "once a day, once a week"

    with connection.cursor() as cursor:  # another key names the same rows otherwise: as if they were others
        cursor.execute("UPDATE backups_backupstate SET id_key = %s", [secrets.token_bytes(32)])
    look = checks.queue_check(run, Check.Kind.SCRUB, actor=SYSTEM)
    with runs.runner():
        checks.do_check(look)
    assert (look.status, "differ" in look.error) == ("failed", True)
    assert BackupRun.objects.filter(status="queued", full=True).count() == 1


def test_with_recipients_only_the_key_is_elsewhere_and_everything_else_goes_on(folder, settings):
    private, public = new_identity()
    settings.BACKUP_KEYS = []
    settings.BACKUP_RECIPIENTS = [base64.b64encode(public).decode()]
    take()
    UserFactory()
    worker.work(now=timezone.now())
    run = take()

    assert (run.kind, run.status, run.warning) == ("increment", "done", "")
    assert not config.readable()
    assert not Check.objects.filter(kind="drill").exists()
    run.refresh_from_db()
    assert "key is elsewhere" in checks.verify_run(run)
    look = checks.queue_check(run, Check.Kind.DRILL, actor=SYSTEM)
    with runs.runner():
        checks.do_check(look)
    assert (look.status, "No key" in look.error) == ("failed", True)
    assert checks.drill_run(run, identities=(private,))


def test_a_policy_that_would_hide_rows_refuses_the_run():
    with connection.cursor() as cursor:
        cursor.execute("CREATE POLICY few ON sites_post AS RESTRICTIVE FOR SELECT USING (slug <> 'secret')")
    try:
        run = take()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP POLICY few ON sites_post")

    assert (run.status, "sites_post" in run.error) == ("failed", True)


def test_pruning_follows_the_plan_and_never_passes_the_newest_proven(folder):
    first = take()
    checks.drill_run(first)
    long_ago = timezone.now() + timedelta(days=800)
    later = take(full=True)

    assert retention.prune(now=long_ago, dry_run=True).runs == []
    checks.drill_run(later)
    wanted = retention.prune(now=long_ago, dry_run=True)
    assert (wanted.runs, wanted.objects > 1) == ([first.pk.hex], True)
    assert retention.prune(now=long_ago, dry_run=False).runs == [first.pk.hex]
    first.refresh_from_db()
    assert first.pruned_at is not None
    assert not [path for path in folder.rglob("*") if path.is_file() and first.pk.hex in str(path)]
    with pytest.raises(Exception, match="cannot be restored"), transaction.atomic():
        checks.queue_check(first, Check.Kind.DRILL, actor=SYSTEM)


def test_other_keys_open_what_is_stored_and_the_old_ones_no_more(folder, settings):
    old = settings.BACKUP_KEYS[0]
    new = base64.b64encode(secrets.token_bytes(32)).decode()
    run = take()
    settings.BACKUP_KEYS = [new, old]
    assert retention.rotate_keys() == 1
    assert retention.rotate_keys() == 0
    settings.BACKUP_KEYS = [new]
    assert checks.drill_run(run)
    settings.BACKUP_KEYS = [old]
    with pytest.raises(Exception, match="No key that was given"):
        checks.drill_run(run)
