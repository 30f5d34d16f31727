"""Verifications, drills and scrubs of this installation's backups."""

import base64
import secrets

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from backups import config
from backups.engine.encryption import generate_identity
from backups.engine.errors import BackupRefused
from backups.errors import NotProvable
from backups.models import BackupRun, Check
from backups.services import checks, runs, worker
from backups.services.checks import queue_due_checks
from backups.tests.helpers import execute_backup, pack_files

pytestmark = [pytest.mark.django_db, pytest.mark.commits, pytest.mark.usefixtures("backup_folder")]


def queue_and_run_check(run, kind):
    check = checks.queue_check(run, kind, actor=SYSTEM)
    with runs.worker_lock():
        return checks.run_check(check)


def scratch_databases():
    name = psycopg.conninfo.conninfo_to_dict(config.database_dsn())["dbname"]
    with psycopg.connect(config.database_dsn(), autocommit=True) as server:
        statement = "SELECT datname FROM pg_database WHERE starts_with(datname, %s)"
        return server.execute(statement, [f"{name}_drill_"]).fetchall()


def test_run_check_proves_a_good_backup():
    run = execute_backup()

    check = queue_and_run_check(run, Check.Kind.DRILL)

    run.refresh_from_db()
    assert (check.status, run.proven_at is not None) == ("done", True)
    assert "match the backup" in check.result


def test_run_check_names_the_damaged_run_and_drops_its_scratch_database(backup_folder):
    run = execute_backup()
    path = next(path for path in pack_files(backup_folder) if run.pk.hex in str(path))
    path.write_bytes(path.read_bytes()[:-3] + b"abc")

    drill = queue_and_run_check(run, Check.Kind.DRILL)
    verification = queue_and_run_check(run, Check.Kind.VERIFY)

    run.refresh_from_db()
    assert (drill.status, verification.status, run.proven_at) == ("failed", "failed", None)
    assert run.pk.hex in drill.error
    assert scratch_databases() == []


def test_queue_check_and_drill_run_refuse_a_run_without_content_hashes():
    execute_backup(provable=False)
    not_hashed = execute_backup(provable=False)

    with pytest.raises(NotProvable), transaction.atomic():
        checks.queue_check(not_hashed, Check.Kind.DRILL, actor=SYSTEM)
    with pytest.raises(BackupRefused, match="not hashed"):
        checks.drill_run(not_hashed)


def test_queue_due_checks_queues_a_daily_drill_and_a_weekly_scrub():
    worker.run_pending_jobs(now=timezone.now())

    assert sorted(Check.objects.values_list("kind", "status", "error")) == [
        ("drill", "done", ""),
        ("scrub", "done", ""),
    ]
    assert BackupRun.objects.get().proven_at is not None
    queue_due_checks(now=timezone.now())
    assert Check.objects.count() == 2


def test_scrub_run_that_finds_a_difference_queues_a_full_run():
    run = execute_backup()
    with connection.cursor() as cursor:  # with another key the same rows have other ids, as if they differed
        cursor.execute("UPDATE backups_backupstate SET id_key = %s", [secrets.token_bytes(32)])

    check = queue_and_run_check(run, Check.Kind.SCRUB)

    assert (check.status, "differs" in check.error) == ("failed", True)
    assert BackupRun.objects.filter(status="queued", full=True).count() == 1


def test_verify_run_compares_checksums_when_the_key_is_not_on_the_server(settings):
    private, public = generate_identity()
    settings.BACKUP_KEYS = []
    settings.BACKUP_RECIPIENTS = [base64.b64encode(public).decode()]
    execute_backup()
    UserFactory()
    worker.run_pending_jobs(now=timezone.now())
    run = execute_backup()

    assert (run.kind, run.status, run.warning) == ("increment", "done", "")
    assert not config.can_decrypt_backups()
    assert not Check.objects.filter(kind="drill").exists()
    run.refresh_from_db()
    assert "key is not on this server" in checks.verify_run(run)
    check = queue_and_run_check(run, Check.Kind.DRILL)
    assert (check.status, "No key" in check.error) == ("failed", True)
    assert checks.drill_run(run, identities=(private,))
