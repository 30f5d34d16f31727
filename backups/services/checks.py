"""Checks of a backup: verify the stored packs, drill a restore, and scrub the database against the store."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from psycopg import sql

from audit.actors import SYSTEM, Actor
from audit.services import record
from backups import config, metrics
from backups.engine import verification
from backups.engine.backup import BackupPlan
from backups.engine.errors import BackupRefused, Damaged, KeyMissing
from backups.engine.manifest import Manifest
from backups.engine.restore import connect_target, restore_backup
from backups.engine.schema import schema_of
from backups.errors import NotProvable, NotRestorable
from backups.models import BackupRun, BackupState, Check
from backups.services.cancellation import CancellationMonitor
from backups.services.runs import (
    EXPECTED_ERRORS,
    ProgressCallback,
    claim_job,
    describe_error,
    get_backup_state,
    ignore_progress,
    mark_failed,
    queue_run,
)
from core.jobs import queue

SAMPLE_SHARE = 0.01  # of the packs that a run needs; verified after each run
DRILL_INTERVAL = timedelta(hours=20)  # less than a day, so that each daily hashed run has its drill
SCRUB_INTERVAL = timedelta(days=7)

log = structlog.get_logger(__name__)


@transaction.atomic
def queue_check(run: BackupRun, kind: str, *, actor: Actor) -> Check:
    """Queue a check of a run, or return the open check of the same kind.

    Raises NotRestorable, NotProvable.
    """
    if run.status != BackupRun.Status.DONE or run.pruned_at:
        raise NotRestorable
    if kind == Check.Kind.DRILL and not run.provable:
        raise NotProvable
    # The row lock makes two concurrent requests return the same check.
    BackupRun.objects.select_for_update(no_key=True).get(pk=run.pk)
    open_check = run.checks.filter(kind=kind, status__in=Check.OPEN).first()
    check = open_check or run.checks.create(kind=kind)
    record("backup.check_queued", actor=actor, subject=run, kind=kind)
    queue.enqueue("backups.tasks.run_pending_jobs")
    return check


def queue_due_checks(*, now: datetime) -> None:
    """Queue a daily drill of the newest provable run that is not proven yet, and a weekly scrub.

    A server without a decryption key queues no drill.
    """
    restorable = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None).order_by("-taken_at")
    unproven = None
    if config.can_decrypt_backups():
        unproven = restorable.filter(provable=True, proven_at=None).first()
    _queue_check_if_due(unproven, Check.Kind.DRILL, DRILL_INTERVAL, now=now)
    has_state = BackupState.objects.exclude(manifest=None).exists()
    _queue_check_if_due(restorable.first() if has_state else None, Check.Kind.SCRUB, SCRUB_INTERVAL, now=now)


def _queue_check_if_due(run: BackupRun | None, kind: str, interval: timedelta, *, now: datetime) -> None:
    if run and not Check.objects.filter(kind=kind, created_at__gt=now - interval).exists():
        queue_check(run, kind, actor=SYSTEM)


def run_check(check: Check, *, on_progress: ProgressCallback = ignore_progress) -> Check:
    """Run a queued check while the caller holds the worker lock. The result or error is saved in the row."""
    if not claim_job(check, now=timezone.now()):
        return check
    actions: dict[str, Callable[..., str]] = {
        Check.Kind.VERIFY: verify_run,
        Check.Kind.DRILL: drill_run,
        Check.Kind.SCRUB: partial(scrub_run, pace=settings.BACKUP_PACE),
    }
    try:
        result = actions[check.kind](check.run, on_progress=on_progress)
    except Damaged as error:
        require_full_run(describe_error(error))
        mark_failed(check, describe_error(error), now=timezone.now())
    except EXPECTED_ERRORS as error:
        mark_failed(check, describe_error(error), now=timezone.now())
    else:
        check.status = Check.Status.DONE
        check.result = result
        check.finished_at = timezone.now()
        check.save(update_fields=["status", "result", "finished_at"])
    return check


def require_full_run(reason: str) -> None:
    """Discard the state of the last run and queue a full run, because stored data is damaged."""
    BackupState.objects.update(manifest=None)
    queue_run(actor=SYSTEM, full=True)
    log.error("backup_state_discarded", reason=reason)


def verify_run(
    run: BackupRun,
    *,
    share: float = 1.0,
    on_progress: ProgressCallback = ignore_progress,
    identities: tuple[bytes, ...] = (),
) -> str:
    """Read a share (0 to 1) of the packs that a run needs, and decrypt them if there is a key.

    Returns the result in words. Raises Damaged, ObjectStoreUnavailable.
    """
    repository = config.repository(identities=identities)
    try:
        manifest = repository.load_manifest(run.name)
        faults, count = verification.verify_packs(repository, manifest, share=share, on_progress=on_progress)
        method = "decrypted"
    except KeyMissing:
        faults, count = verification.verify_pack_checksums(
            repository.store, run.name, share=share, on_progress=on_progress
        )
        method = "compared with their checksums; the key is not on this server"
    if faults:
        raise Damaged(" ".join(faults[:3]))
    BackupRun.objects.filter(pk=run.pk).update(verified_at=timezone.now())
    return f"{count} packs {method}."


def drill_run(
    run: BackupRun,
    *,
    on_progress: ProgressCallback = ignore_progress,
    identities: tuple[bytes, ...] = (),
) -> str:
    """Restore a run into a temporary database, and compare structure, row counts and content.

    The run is then marked as proven. Returns the result in words. Raises BackupRefused, Damaged, KeyMissing,
    ObjectStoreUnavailable, psycopg.Error.
    """
    repository = config.repository(identities=identities)
    started_at = timezone.now()
    manifest = repository.load_manifest(run.name)
    if not manifest.provable:
        raise BackupRefused(NotProvable.message)
    with scratch_database() as dsn:
        restore_backup(repository, manifest, dsn, on_progress=on_progress, compare_content=True)
        _compare_structure(manifest, dsn)
    seconds = (timezone.now() - started_at).total_seconds()
    BackupRun.objects.filter(pk=run.pk).update(proven_at=timezone.now(), verified_at=timezone.now())
    record("backup.proven", actor=SYSTEM, subject=run, rows=run.rows, seconds=round(seconds, 1))
    rows = sum(table.rows for table in manifest.tables)
    tables = len(manifest.tables)
    return f"{rows:,} rows of {tables} tables match the backup. The restore took {seconds:.0f} s."


def _compare_structure(manifest: Manifest, dsn: str) -> None:
    """Raise Damaged unless the restored database has every table, index, constraint, trigger and policy."""
    with connect_target(dsn, row_security="on") as connection:
        if connection.info.server_version // 10000 != manifest.cluster["version"] // 10000:
            return  # another major version prints some statements differently
        restored_schema = schema_of(connection)
    for phase, kinds in manifest.schema.items():
        for kind, statements in kinds.items():
            restored = restored_schema[phase][kind]
            if sorted(map(_statement_head, restored)) != sorted(map(_statement_head, statements)):
                raise Damaged(f"The {kind} of the restored database differ from those that were backed up.")


def _statement_head(statement: str) -> str:
    """Return what a statement creates, without the expression.

    PostgreSQL can print an expression differently after it was parsed again.
    """
    return statement.partition("(")[0]


@contextmanager
def scratch_database() -> Iterator[str]:
    """Create an empty database, yield its DSN, and drop it at the end.

    Databases that a killed drill left behind are dropped first. Raises psycopg.Error.
    """
    server_dsn = settings.BACKUP_DRILL_URL or config.database_dsn()
    database_name = psycopg.conninfo.conninfo_to_dict(config.database_dsn())["dbname"]
    prefix = f"{database_name}_drill_"[-50:]
    name = f"{prefix}{secrets.token_hex(4)}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        leftovers = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]
        ).fetchall()
        for (leftover,) in leftovers:
            drop_database(connection, leftover)
        statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
        try:
            yield psycopg.conninfo.make_conninfo(server_dsn, dbname=name)
        finally:
            drop_database(connection, name)


def drop_database(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database and end its sessions. Raises psycopg.Error."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    try:
        connection.execute(statement + sql.SQL(" WITH (FORCE)"))
    except psycopg.errors.InsufficientPrivilege:
        # FORCE may not end an autovacuum worker, but a plain DROP makes it leave.
        connection.execute(statement)


def scrub_run(run: BackupRun, *, on_progress: ProgressCallback = ignore_progress, pace: float = 1.0) -> str:
    """Read the ranges again that seem unchanged, and compare them with what the newest run stored.

    `pace` below 1 throttles the reading. Returns the result in words. Raises BackupRefused, Damaged,
    psycopg.Error.
    """
    state = get_backup_state()
    if not state.manifest:
        raise BackupRefused("There is nothing to compare with yet: the next run reads everything.")
    manifest = Manifest.from_bytes(bytes(state.manifest))
    with CancellationMonitor() as monitor:
        plan = BackupPlan(
            config.source(),
            config.store(),
            config.keys(),
            bytes(state.id_key),
            manifest.run_id,
            pace=pace,
            should_stop=monitor.should_stop,
            on_progress=on_progress,
        )
        result = verification.scrub_ranges(plan, manifest)
    if result.drifted:
        metrics.drift.inc(len(result.drifted))
        raise Damaged(
            f"The database differs from the backup, a full run is queued: {'; '.join(result.drifted[:3])}."
        )
    return f"{result.ranges} ranges were read again. All match the backup."
