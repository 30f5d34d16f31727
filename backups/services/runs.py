"""Backups of this installation: queueing, execution, and recovery after a killed process.

One backup job runs at a time, guarded by an advisory lock. A run counts when the store has its manifest.
"""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.actors import SYSTEM, Actor
from audit.services import record
from backups import config
from backups.engine import backup
from backups.engine.errors import BackupError, BackupRefused, Damaged, Stopped
from backups.engine.manifest import Manifest
from backups.engine.plan import BackupPlan
from backups.models import BackupJob, BackupRun, BackupState, Check
from backups.services.cancellation import CancellationMonitor
from core.jobs import queue
from core.storage.object_store import ObjectExists, ObjectStoreUnavailable

WORKER_LOCK_ID = 0x6261636B757073  # "backups" in ASCII; an advisory lock
RESTORE_LOCK_ID = 0x726573746F7265  # "restore" in ASCII; an advisory lock
RETRY_DELAY = timedelta(minutes=10)  # after a failed run; doubled after each further failure
STOPPED_RETRY_DELAY = timedelta(minutes=1)  # after a run that made way for a migration
RECENT_RUNS = 8  # how many runs are looked at for failures in a row
PROVABLE_INTERVAL = timedelta(
    hours=23
)  # rows are hashed once a day, because it takes as long as reading them
MAX_ERROR_LENGTH = 500  # of the column
MAX_AUDITED_ERROR_LENGTH = 200
JOB_NAMES = {"BackupRun": "backup", "Check": "backup_check", "SiteRestore": "site_restore"}
# What a job may meet that is not a bug. It is recorded in the job's row.
EXPECTED_ERRORS = (
    BackupError,
    ObjectStoreUnavailable,
    ObjectExists,
    psycopg.Error,
    DatabaseError,
    OSError,
    ValueError,
)
ProgressCallback = Callable[[int, int], None]  # done, total

log = structlog.get_logger(__name__)


def ignore_progress(done: int, total: int) -> None:
    """A ProgressCallback that does nothing."""


@contextmanager
def worker_lock(lock_id: int = WORKER_LOCK_ID) -> Iterator[bool]:
    """Try to get the lock that allows one backup job at a time. Yields False when it is taken.

    Restores of sites have a lock of their own, so that a long backup does not delay them.

    A separate connection holds the lock, so that the lock ends with the process. Raises psycopg.Error.
    """
    dsn = config.database_dsn()
    with psycopg.connect(dsn, autocommit=True, application_name="backup runner") as lock_connection:
        row = lock_connection.execute("SELECT pg_try_advisory_lock(%s)", [lock_id]).fetchone()
        yield bool(row and row[0])


# --- queueing ---


@transaction.atomic
def queue_run(
    *, actor: Actor, full: bool = False, provable: bool = False, requested_by_owner: bool = False
) -> BackupRun:
    """Queue a backup, or return the queued one if it is sufficient. It starts within a minute.

    `full` reads everything again. `provable` hashes the rows; without it, that is decided at the start.
    `requested_by_owner` is for a restore point that an owner of a site asked for.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 1)", [WORKER_LOCK_ID % 2**31])
    queued = BackupRun.objects.filter(status=BackupRun.Status.QUEUED).first()
    is_sufficient = queued and queued.full >= full and queued.provable >= provable
    run = (
        queued
        if queued and is_sufficient
        else BackupRun.objects.create(full=full, provable=provable, requested_by_owner=requested_by_owner)
    )
    record("backup.queued", actor=actor, subject=run, full=full)
    queue.enqueue("backups.tasks.run_pending_jobs")
    return run


def queue_due_run(*, now: datetime) -> BackupRun | None:
    """Queue a backup when BACKUP_EVERY has passed since the last one, or sooner after a failed one."""
    recent = list(BackupRun.objects.order_by("-created_at", "-pk")[:RECENT_RUNS])
    if not recent:
        return queue_run(actor=SYSTEM)
    last = recent[0]
    if last.status in BackupRun.OPEN or now - last.created_at < _delay_after(recent):
        return None
    return queue_run(actor=SYSTEM)


def next_run_time() -> datetime:
    """Return when the next backup is due by the schedule."""
    ended = BackupRun.objects.exclude(status__in=BackupRun.OPEN)
    recent = list(ended.order_by("-created_at", "-pk")[:RECENT_RUNS])
    return recent[0].created_at + _delay_after(recent) if recent else timezone.now()


def _delay_after(recent: list[BackupRun]) -> timedelta:
    """Return how long after the last of these runs, newest first, the next one is due."""
    if recent[0].status == BackupRun.Status.STOPPED:
        return STOPPED_RETRY_DELAY
    statuses = [run.status for run in recent]
    failures = statuses.index(BackupRun.Status.DONE) if BackupRun.Status.DONE in statuses else len(statuses)
    interval: timedelta = settings.BACKUP_EVERY
    return min(interval, RETRY_DELAY * 2 ** (failures - 1)) if failures else interval


# --- the state of jobs ---


def claim_job(job: BackupJob, *, now: datetime) -> bool:
    """Move a queued job to running. Returns False when it is no longer queued."""
    if not queue.claim_row(job, now=now):
        return False
    type(job)._default_manager.filter(pk=job.pk).update(started_at=now)
    return True


def mark_failed(job: BackupJob, reason: str, *, now: datetime, status: str = BackupJob.Status.FAILED) -> None:
    """Record in a job's row, the audit trail and the log that it failed. `status` may be STOPPED instead."""
    job.status = status
    job.error = reason[:MAX_ERROR_LENGTH]
    job.finished_at = now
    job.save(update_fields=["status", "error", "finished_at"])
    kind = type(job).__name__
    if status == BackupJob.Status.FAILED:
        log.error("backup_job_failed", kind=kind, job=str(job.pk), reason=job.error)
    record(
        f"{JOB_NAMES[kind]}.{status}",
        actor=SYSTEM,
        subject=job,  # type: ignore[arg-type]  # every subclass has as_subject()
        reason=reason[:MAX_AUDITED_ERROR_LENGTH],
    )


def describe_error(error: Exception) -> str:
    """Return one line about an expected error for an operator."""
    if isinstance(error, BackupError):
        return str(error)
    if isinstance(error, ObjectStoreUnavailable | ObjectExists):
        return f"The store of backups refused: {type(error).__name__} {error}"
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


# --- recovery ---


def recover_interrupted_jobs(*, now: datetime) -> None:
    """Finish or fail the jobs that a killed process left running. The caller holds the worker lock.

    A run counts if, and only if, the store has its manifest. Raises ObjectStoreUnavailable.
    """
    for run in BackupRun.objects.filter(status=BackupRun.Status.RUNNING):
        names = [name for name in config.store().keys("runs/") if name.endswith(f"-{run.pk.hex}")]
        if names:
            _recover_published_run(run, names[0], now=now)
        else:
            mark_failed(run, "The process was killed.", now=now)
    BackupState.objects.update(pending=None)
    fail_interrupted_jobs(Check, now=now)


def fail_interrupted_jobs(kind: type[BackupJob], *, now: datetime) -> None:
    """Fail the jobs of this kind that a killed process left running. The caller holds their lock."""
    for job in kind._default_manager.filter(status=BackupJob.Status.RUNNING):
        mark_failed(job, "The process was killed.", now=now)


def _recover_published_run(run: BackupRun, name: str, *, now: datetime) -> None:
    """Mark a run as done whose manifest is in the store.

    Either the process was killed between writing to the store and to the database, or this database was
    restored from that run. In the second case there is no pending manifest, and the details are unknown.
    """
    state = BackupState.objects.exclude(pending=None).first()
    manifest = _parse_saved_manifest(state.pending) if state else None
    if manifest and manifest.run_id == run.pk.hex:
        seconds = (now - (run.started_at or now)).total_seconds()
        _finish(run, manifest, name, RunStatistics(seconds=seconds), now=now)
    else:
        taken_at = datetime.fromisoformat(name.removeprefix("runs/").partition("-")[0])
        rows = BackupRun.objects.filter(pk=run.pk)
        rows.update(status=BackupRun.Status.DONE, name=name, taken_at=taken_at, finished_at=now)


def _parse_saved_manifest(packed: Any) -> Manifest | None:
    """Return a manifest that was saved in the database, or None when another version wrote it.

    Without a manifest the next run reads everything.
    """
    try:
        return Manifest.from_bytes(bytes(packed)) if packed else None
    except (BackupRefused, Damaged):
        return None


# --- execution ---


@dataclass(frozen=True, slots=True)
class RunStatistics:
    """The measurements of a run, which are saved in its row."""

    seconds: float
    read_bytes: int = 0
    shipped_bytes: int = 0
    waited_seconds: float = 0.0


def execute_run(
    run: BackupRun, *, on_progress: ProgressCallback = ignore_progress, pace: float = 1.0
) -> BackupRun:
    """Take a queued backup while the caller holds the worker lock. An error is recorded in the row.

    `pace` below 1 is the share of the time that the run works; it sleeps for the rest.
    """
    started_at = timezone.now()
    if not claim_job(run, now=started_at):
        return run
    try:
        with CancellationMonitor() as monitor:
            _take_backup(run, monitor, on_progress, pace, started_at=started_at)
    except Stopped as error:
        mark_failed(run, str(error), now=timezone.now(), status=BackupJob.Status.STOPPED)
    except EXPECTED_ERRORS as error:
        mark_failed(run, describe_error(error), now=timezone.now())
    run.refresh_from_db()
    return run


def _take_backup(
    run: BackupRun,
    monitor: CancellationMonitor,
    on_progress: ProgressCallback,
    pace: float,
    *,
    started_at: datetime,
) -> None:
    store = config.store()
    state = get_backup_state()
    previous = None if run.full else load_parent_manifest(state)
    hashed_lately = BackupRun.objects.filter(
        status=BackupRun.Status.DONE, provable=True, created_at__gt=started_at - PROVABLE_INTERVAL
    )
    run.provable = run.provable or previous is None or not hashed_lately.exists()
    plan = BackupPlan(
        config.source(),
        config.programs(),
        store,
        config.keys(),
        bytes(state.id_key),
        run.pk.hex,
        previous,
        pace=pace,
        hash_rows=run.provable,
        compression=settings.BACKUP_COMPRESSION,
        metadata={"version": settings.VERSION},
        should_stop=monitor.should_stop,
        on_progress=on_progress,
    )
    staged = backup.take_backup(plan)
    # Django's connection was idle during the backup, and the server may have closed it.
    connection.close_if_unusable_or_obsolete()
    state.pending = staged.manifest.to_bytes()
    state.save(update_fields=["pending"])
    staged.publish(store)
    statistics = RunStatistics(
        seconds=(timezone.now() - started_at).total_seconds(),
        read_bytes=plan.read_bytes,
        shipped_bytes=staged.shipped_bytes,
        waited_seconds=staged.lock_wait_seconds,
    )
    _finish(run, staged.manifest, _manifest_name(staged.manifest), statistics, now=timezone.now())


@transaction.atomic
def _finish(
    run: BackupRun, manifest: Manifest, name: str, statistics: RunStatistics, *, now: datetime
) -> None:
    """Mark a published run as done, and save its manifest for the next increment."""
    previous = BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-taken_at").first()
    run.status = BackupRun.Status.DONE
    run.name = name
    run.finished_at = now
    run.kind = BackupRun.Kind.INCREMENT if manifest.parent else BackupRun.Kind.FULL
    run.taken_at = datetime.fromisoformat(manifest.taken_at)
    run.provable = manifest.provable
    run.rows = sum(table.rows for table in manifest.tables)
    run.stored_bytes = sum(size for _, size in manifest.packs.values())
    run.chain = _longest_chain(manifest)
    run.seconds = statistics.seconds
    run.read_bytes = statistics.read_bytes
    run.shipped_bytes = statistics.shipped_bytes
    run.waited_seconds = statistics.waited_seconds
    run.warning = " ".join([*_shrink_warnings(run, previous), *manifest.schema.warnings])
    run.save()
    BackupState.objects.filter(pk=1).update(manifest=manifest.to_bytes(), pending=None)
    record("backup.finished", actor=SYSTEM, subject=run, kind=run.kind, shipped_bytes=run.shipped_bytes)
    log.info(
        "backup_finished",
        run=str(run.pk),
        kind=run.kind,
        shipped_bytes=run.shipped_bytes,
        seconds=run.seconds,
    )


def _longest_chain(manifest: Manifest) -> int:
    """Return the number of runs that the range with the most parts builds on."""
    return max(
        (len(block_range.parts) for table in manifest.tables for block_range in table.ranges), default=0
    )


def _shrink_warnings(run: BackupRun, previous: BackupRun | None) -> list[str]:
    """Return a warning when the database lost all or more than half of its rows since the previous run."""
    if run.rows and not (previous and run.rows < previous.rows / 2):
        return []
    log.error("backup_shrank", run=str(run.pk), rows=run.rows)
    previous_rows = previous.rows if previous else 0
    return [f"It has {run.rows:,} rows where the previous backup had {previous_rows:,}."]


def get_backup_state() -> BackupState:
    """Return the single row of BackupState, and create it at the first run."""
    return BackupState.objects.get_or_create(pk=1, defaults={"id_key": secrets.token_bytes(32)})[0]


def load_parent_manifest(state: BackupState) -> Manifest | None:
    """Return the manifest that the next run builds on: the last one, if the store still has all its packs.

    Raises ObjectStoreUnavailable.
    """
    manifest = _parse_saved_manifest(state.manifest)
    if manifest is None:
        return None
    store = config.store()
    name = _manifest_name(manifest)
    stored = {*store.keys(name), *store.keys("packs/")}
    return manifest if {name, *manifest.packs} <= stored else None


def _manifest_name(manifest: Manifest) -> str:
    return backup.manifest_name(manifest.taken_at, manifest.run_id)


def discard_run(run: BackupRun, reason: str, *, now: datetime) -> None:
    """Delete the manifest of a run whose packs are damaged, mark it as failed, and make the next run full.

    A bucket with object lock keeps the manifest; then only the row says that the run failed.
    """
    store = config.store()
    with contextlib.suppress(ObjectStoreUnavailable):
        for name in (run.name, f"{run.name}.refs"):
            store.delete(name)
    BackupState.objects.update(manifest=None)
    mark_failed(run, reason, now=now)
