"""The worker of backups: recovery, due and queued jobs, and periodic maintenance."""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from backups.engine.errors import Damaged
from backups.models import BackupJob, BackupRun, Check
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
from core.jobs import periodic

log = structlog.get_logger(__name__)


def run_pending_jobs(*, now: datetime) -> int:
    """Run all due and queued jobs one after the other. Returns their number.

    Returns 0 at once when another process holds the worker lock.
    """
    with worker_lock() as acquired:
        if not acquired:
            return 0
        job_count = 0
        try:
            recover_interrupted_jobs(now=now)
            for queue_due in (queue_due_run, queue_due_checks):
                queue_due(now=now)
                while job := _next_job():
                    _run_job(job)
                    job_count += 1
                    queue_due_run(now=timezone.now())  # a long queue must not delay the next backup
            _run_maintenance(now=now)
        except EXPECTED_ERRORS as error:
            log.error("backup_jobs_aborted", reason=describe_error(error))
        return job_count


def _next_job() -> BackupJob | None:
    """Return the oldest queued job. Backups come before checks."""
    for model in (BackupRun, Check):
        job: BackupJob | None = (
            model._default_manager.filter(status=BackupJob.Status.QUEUED).order_by("pk").first()
        )
        if job:
            return job
    return None


def _run_job(job: BackupJob) -> None:
    if isinstance(job, BackupRun):
        run = execute_run(job, pace=settings.BACKUP_PACE)
        if run.status == BackupRun.Status.DONE:
            _verify_new_run(run)
    elif isinstance(job, Check):
        run_check(job)


def _verify_new_run(run: BackupRun) -> None:
    """Verify some of the packs that a run has just written, and a small share of the others.

    A damaged run is discarded.
    """
    try:
        verify_run(run, share=SAMPLE_SHARE)
    except Damaged as error:
        discard_run(run, describe_error(error), now=timezone.now())


def _run_maintenance(*, now: datetime) -> None:
    erasure_tombstones.copy_tombstones_to_store(now=now)
    if periodic.claim_slot("backup_obey", every=timedelta(hours=1), now=now):
        erasure_tombstones.erase_restored_people(now=now)
    if periodic.claim_slot("backup_prune", every=timedelta(days=1), now=now):
        retention.prune_backups(now=now, dry_run=False)
    if periodic.claim_slot("backup_locks", every=timedelta(days=1), now=now):
        retention.renew_object_locks(now=now)
