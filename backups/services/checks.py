"""Checks of a backup: verify the stored packs, drill a restore, and scrub the database against the store."""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from audit.actors import SYSTEM, Actor
from audit.services import record
from backups import config
from backups.engine import verification
from backups.engine.comparison import compare_structure
from backups.engine.errors import BackupRefused, Damaged, KeyMissing
from backups.engine.manifest import Manifest
from backups.engine.plan import BackupPlan
from backups.engine.restore import restore_backup
from backups.errors import NotProvable, NotRestorable
from backups.models import BackupRun, BackupState, Check
from backups.services.cancellation import CancellationMonitor
from backups.services.drill_databases import drill_database
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
        result = verification.verify_packs(repository, manifest, share=share, on_progress=on_progress)
        method = "decrypted"
    except KeyMissing:
        result = verification.verify_pack_checksums(
            repository.store, run.name, share=share, on_progress=on_progress
        )
        method = "compared with their checksums; the key is not on this server"
    if result.faults:
        raise Damaged(" ".join(result.faults[:3]))
    BackupRun.objects.filter(pk=run.pk).update(verified_at=timezone.now())
    return (
        f"{result.read_count} of {result.total_count} packs {method}."
        " Nothing was restored: whether the database can be restored is what a drill proves."
    )


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
    with drill_database() as dsn:
        restore_backup(
            repository,
            manifest,
            dsn,
            programs=config.programs(),
            on_progress=on_progress,
            compare_content=True,
        )
        archive = repository.pack_reader(manifest).read_chunk(manifest.schema.archive)
        structure = compare_structure(manifest, archive, dsn, programs=config.programs())
    seconds = (timezone.now() - started_at).total_seconds()
    BackupRun.objects.filter(pk=run.pk).update(proven_at=timezone.now(), verified_at=timezone.now())
    record("backup.proven", actor=SYSTEM, subject=run, rows=run.rows, seconds=round(seconds, 1))
    rows = sum(table.rows for table in manifest.tables)
    tables = len(manifest.tables)
    result = f"{rows:,} rows of {tables} tables match the backup. {structure}"
    return " ".join([result, f"The restore took {seconds:.0f} s.", *_missing_role_warnings(manifest)])


def _missing_role_warnings(manifest: Manifest) -> list[str]:
    """Return a sentence about the roles that a new server needs before a restore, or nothing."""
    roles = manifest.schema.catalogue["policy_roles"]
    return [f"A new server first needs the roles {', '.join(roles)}."] if roles else []


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
            config.programs(),
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
        raise Damaged(
            f"The database differs from the backup, a full run is queued: {'; '.join(result.drifted[:3])}."
        )
    return f"{result.ranges} ranges were read again. All match the backup."
