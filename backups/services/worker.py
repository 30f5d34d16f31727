"""What the one worker of backups does each time it is called: settle, queue what is due, do what waits, keep
house.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from backups import metrics, selectors
from backups.engine.errors import Damaged
from backups.models import BackupRun, Check, SiteRestore, Work
from backups.services import erasure_tombstones, retention
from backups.services.checks import SAMPLE_SHARE, queue_due_checks, run_check, verify_run
from backups.services.runs import (
    EXPECTED_ERRORS,
    describe_error,
    discard_run,
    execute_run,
    queue_due_run,
    recover_interrupted_jobs,
    worker_lock,
)
from backups.services.site_restores import run_site_restore
from core.jobs import periodic

log = structlog.get_logger(__name__)


def run_pending_jobs(*, now: datetime) -> int:
    """Everything that waits, one after the other; how much it was.

    At once nothing where another works already.
    """
    with worker_lock() as mine:
        if not mine:
            return 0
        done = 0
        try:
            recover_interrupted_jobs(now=now)
            for queue in (queue_due_run, queue_due_checks):
                queue(now=now)
                while row := _next():
                    _do(row)
                    done += 1
                    queue_due_run(now=timezone.now())  # whatever else waits, backups come in time
            _keep_house(now=now)
        except EXPECTED_ERRORS as refusal:
            log.error("backups_cannot_work", reason=describe_error(refusal))
        update_metrics()
        return done


def _next() -> Work | None:
    for kind in (BackupRun, SiteRestore, Check):
        row: Work | None = kind._default_manager.filter(status=Work.Status.QUEUED).order_by("pk").first()
        if row:
            return row
    return None


def _do(row: Work) -> None:
    if isinstance(row, BackupRun):
        run = execute_run(row, pace=settings.BACKUP_PACE)
        if run.status == BackupRun.Status.DONE:
            _look_at(run)
    elif isinstance(row, Check):
        run_check(row)
    elif isinstance(row, SiteRestore):
        run_site_restore(row)


def _look_at(run: BackupRun) -> None:
    """What a run has just written, and a small part of what else it needs, is read at once: one that cannot
    be restored is none.
    """
    try:
        verify_run(run, share=SAMPLE_SHARE)
    except Damaged as fault:
        discard_run(run, describe_error(fault), now=timezone.now())


def _keep_house(*, now: datetime) -> None:
    erasure_tombstones.copy_tombstones_to_store(now=now)
    if periodic.claim_slot("backup_obey", every=timedelta(hours=1), now=now):
        erasure_tombstones.erase_restored_people(now=now)
    if periodic.claim_slot("backup_prune", every=timedelta(days=1), now=now):
        retention.prune_backups(now=now, dry_run=False)
    if periodic.claim_slot("backup_locks", every=timedelta(days=1), now=now):
        retention.renew_object_locks(now=now)


def update_metrics() -> None:
    """The gauges."""
    found = selectors.newest_backup_times()
    metrics.newest_good.set(found["good"].timestamp() if found["good"] else 0)
    metrics.newest_proven.set(found["proven"].timestamp() if found["proven"] else 0)
    run = BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-taken_at").first()
    if run:
        metrics.duration.set(run.seconds)
        metrics.shipped.set(run.shipped_bytes)
        metrics.stored.set(run.stored_bytes)
        metrics.rows.set(run.rows)
        metrics.lock_wait.set(run.waited_seconds)
