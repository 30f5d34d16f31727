"""Runs of this installation: queueing, execution, and recovery after a killed process."""

import os
import subprocess
import sys
import threading
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from audit.models import Entry
from backups import config, selectors
from backups.engine import backup as engine
from backups.models import BackupRun, BackupState
from backups.services import checks, runs
from backups.services.runs import queue_due_run
from backups.tests.helpers import execute_backup, pack_files
from core.storage.database import MIGRATION_LOCK_ID
from sites.tests.factories import SiteFactory
from tests.stack import ROOT

pytestmark = [pytest.mark.django_db, pytest.mark.commits, pytest.mark.usefixtures("backup_folder")]


def test_execute_run_is_full_at_first_and_then_stores_only_changes(backup_folder):
    SiteFactory()
    first = execute_backup()
    unchanged = execute_backup()
    UserFactory(name="New user")
    third = execute_backup()

    executed = [first, unchanged, third]
    assert [run.error for run in executed] == [""] * 3
    assert [run.kind for run in executed] == ["full", "increment", "increment"]
    assert first.rows > 0
    assert third.shipped_bytes < first.shipped_bytes / 3
    total_bytes = sum(path.stat().st_size for path in pack_files(backup_folder))
    assert first.stored_bytes < third.stored_bytes <= total_bytes
    run_ids = [run.pk for run in executed]
    assert Entry.objects.filter(event="backup.finished", subject_id__in=run_ids).count() == 3
    assert execute_backup(full=True).kind == "full"


def test_execute_run_hashes_the_content_once_a_day():
    first = execute_backup(provable=False)
    second = execute_backup(provable=False)

    assert (first.provable, second.provable) == (True, False)
    assert checks.drill_run(first)
    UserFactory()
    BackupRun.objects.filter(pk=first.pk).update(created_at=timezone.now() - timedelta(hours=24))
    third = execute_backup(provable=False)
    assert (third.kind, third.provable) == ("increment", True)
    assert checks.drill_run(third)


def test_execute_run_leaves_out_visitor_salts_and_the_backup_state():
    run = execute_backup()

    tables = {table.name for table in config.repository().load_manifest(run.name).tables}
    assert {("public", name) for name in ("accounts_user", "analytics_term", "audit_personal")} <= tables
    assert not tables & {("public", "analytics_salt"), ("public", "backups_backupstate")}


def test_execute_run_fails_when_the_store_is_unavailable_and_keeps_the_last_backup(backup_folder, settings):
    execute_backup()
    UserFactory()
    before = sorted(backup_folder.rglob("*"))
    settings.BACKUP_STORE_URL = f"file://{ROOT}/manage.py/not-a-folder"

    failed = execute_backup()

    assert (failed.status, "store" in failed.error) == ("failed", True)
    assert Entry.objects.filter(event="backup.failed", subject_id=failed.pk).count() == 1
    assert any("failed" in text for text in selectors.backup_warnings(now=timezone.now()))
    settings.BACKUP_STORE_URL = f"file://{backup_folder}"
    assert sorted(backup_folder.rglob("*")) == before
    following = execute_backup()
    assert (following.kind, following.status) == ("increment", "done")
    assert checks.drill_run(following)


def test_execute_run_is_full_when_the_store_lost_a_pack(backup_folder):
    execute_backup()
    pack_files(backup_folder)[0].unlink()

    run = execute_backup()

    assert (run.kind, run.status) == ("full", "done")
    assert checks.drill_run(run)


def test_execute_run_refuses_a_policy_that_would_hide_rows():
    with connection.cursor() as cursor:
        cursor.execute("CREATE POLICY few ON sites_post AS RESTRICTIVE FOR SELECT USING (slug <> 'secret')")
    try:
        run = execute_backup()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP POLICY few ON sites_post")

    assert (run.status, "sites_post" in run.error) == ("failed", True)


def test_execute_run_stops_for_a_migration_and_frees_its_locks(monkeypatch):
    """The run ends within a second, so the migration gets its lock within its lock timeout."""
    execute_backup()
    read_sequences = engine.sources.read_sequences
    take_backup = engine.take_backup
    reading = threading.Event()
    plans = []
    executed = []

    def read_sequences_slowly(reader):
        reading.set()
        for _ in range(100):
            threading.Event().wait(0.1)
            plans[0].raise_if_stopped()
        return read_sequences(reader)

    def record_plan(plan):
        plans.append(plan)
        return take_backup(plan)

    def run_in_thread():
        executed.append(execute_backup())
        connection.close()

    monkeypatch.setattr(engine.sources, "read_sequences", read_sequences_slowly)
    monkeypatch.setattr(engine, "take_backup", record_plan)
    thread = threading.Thread(target=run_in_thread)
    thread.start()
    assert reading.wait(20)
    with psycopg.connect(config.database_dsn(), autocommit=True) as migration:
        migration.execute("SELECT pg_advisory_lock(%s)", [MIGRATION_LOCK_ID])
        migration.execute("SET lock_timeout = '5s'")
        migration.execute("ALTER TABLE core_periodicslot ADD COLUMN passing int")
        migration.execute("ALTER TABLE core_periodicslot DROP COLUMN passing")
    thread.join(20)

    (run,) = executed
    assert (run.status, "migration" in run.error) == ("stopped", True)


def test_queue_run_returns_the_queued_run():
    run_ids = {runs.queue_run(actor=SYSTEM).pk for _ in range(3)}

    assert len(run_ids) == 1


def end_run(run, status, *, created_at):
    BackupRun.objects.filter(pk=run.pk).update(
        status=status, created_at=created_at, taken_at=created_at, name="x"
    )


def test_queue_due_run_waits_for_the_interval_and_retries_failed_runs_sooner(settings):
    settings.BACKUP_EVERY = timedelta(hours=6)
    now = timezone.now()
    first = queue_due_run(now=now)
    assert first is not None, "a new installation starts at once"
    assert queue_due_run(now=now + timedelta(hours=7)) is None, "a run is queued"

    end_run(first, "done", created_at=now)
    assert queue_due_run(now=now + timedelta(hours=5, minutes=59)) is None
    second = queue_due_run(now=now + timedelta(hours=6))
    end_run(second, "failed", created_at=now)
    assert queue_due_run(now=now + timedelta(minutes=9)) is None
    third = queue_due_run(now=now + timedelta(minutes=10))
    end_run(third, "failed", created_at=now)
    assert queue_due_run(now=now + timedelta(minutes=19)) is None
    fourth = queue_due_run(now=now + timedelta(minutes=20))
    end_run(fourth, "stopped", created_at=now)
    assert queue_due_run(now=now + timedelta(minutes=2)) is not None


KILLED_RUN = """
import os, sys, django
django.setup()
from audit.actors import SYSTEM
from backups.engine.backup import StagedBackup
from backups.services import runs
step = sys.argv[1]
publish = StagedBackup.publish
def publish_and_exit(self, store):
    if step == "after publishing": publish(self, store)
    os._exit(9)
if step == "claimed":
    runs.backup.take_backup = lambda plan: os._exit(9)
else:
    StagedBackup.publish = publish_and_exit
with runs.worker_lock():
    runs.execute_run(runs.queue_run(actor=SYSTEM, provable=True))
"""


@pytest.mark.parametrize("step", ["claimed", "before publishing", "after publishing"])
def test_recover_interrupted_jobs_counts_a_killed_run_only_if_the_store_has_it(backup_folder, step):
    execute_backup()
    UserFactory(name="Between the two")
    database = connection.settings_dict
    environ = {
        **os.environ,
        "BACKUP_STORE_URL": f"file://{backup_folder}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": (
            f"postgresql://{database['USER']}:{database['PASSWORD']}"
            f"@{database['HOST']}:{database['PORT']}/{database['NAME']}"
        ),
    }
    completed = subprocess.run([sys.executable, "-c", KILLED_RUN, step], cwd=ROOT, env=environ, timeout=60)
    assert completed.returncode == 9
    assert BackupRun.objects.filter(status="running").count() == 1

    with runs.worker_lock() as acquired:
        assert acquired, "the lock ended with the process"
        runs.recover_interrupted_jobs(now=timezone.now())

    killed = BackupRun.objects.order_by("-id")[0]
    assert killed.status == ("done" if step == "after publishing" else "failed")
    assert BackupState.objects.get().pending is None
    following = execute_backup()
    assert following.kind == "increment"
    assert checks.drill_run(following)
    if step == "after publishing":
        assert checks.drill_run(killed)
