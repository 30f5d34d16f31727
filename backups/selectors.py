"""Reads about backups that return a value."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Max, Q

from backups import config
from backups.engine import retention
from backups.models import BackupRun, Check
from core.storage.object_store import ObjectStoreUnavailable

MAX_PROOF_AGE = timedelta(hours=48)
RUN_ID_LENGTH = 32  # a UUID in hex


def newest_backup_times() -> dict[str, datetime | None]:
    """Return when the newest restorable run (`good`) and the newest proven one (`proven`) were taken.

    One query.
    """
    good = Q(status=BackupRun.Status.DONE, pruned_at=None)
    times: dict[str, datetime | None] = BackupRun.objects.aggregate(
        good=Max("taken_at", filter=good), proven=Max("taken_at", filter=good & ~Q(proven_at=None))
    )
    return times


def backup_warnings(*, now: datetime) -> list[str]:
    """Return sentences about what an operator should look into. Three queries."""
    times = newest_backup_times()
    newest_good = times["good"]
    newest_proven = times["proven"]
    max_age = 2 * settings.BACKUP_EVERY + timedelta(hours=1)
    warnings = []
    if newest_good is None:
        warnings.append("There is no backup yet.")
    elif now - newest_good > max_age:
        warnings.append(f"The newest successful backup was taken at {newest_good:%Y-%m-%d %H:%M} UTC.")
    if newest_good and (newest_proven is None or now - newest_proven > MAX_PROOF_AGE):
        warnings.append("No backup of the last two days has been proven by restoring it.")
    return [*warnings, *_job_warnings()]


def _job_warnings() -> list[str]:
    """Return warnings about the last backup and the last check. Two queries."""
    warnings = []
    last_run = BackupRun.objects.exclude(status__in=BackupRun.OPEN).order_by("-id").first()
    if last_run and last_run.status == BackupRun.Status.FAILED:
        warnings.append(f"The last backup failed: {last_run.error}")
    elif last_run and last_run.warning:
        warnings.append(last_run.warning)
    last_check = Check.objects.exclude(status__in=Check.OPEN).order_by("-id").first()
    if last_check and last_check.status == Check.Status.FAILED:
        warnings.append(f"The last {last_check.kind} failed: {last_check.error}")
    return warnings


def proven_run_ids() -> list[str]:
    """Return the ids of the runs that a drill has proven, in hex as the store has them. One query."""
    return [pk.hex for pk in BackupRun.objects.exclude(proven_at=None).values_list("pk", flat=True)]


def prunable_run_ids(*, now: datetime) -> list[UUID]:
    """Return the runs that the next pruning deletes, oldest first.

    One query and one listing of the store. Raises ObjectStoreUnavailable.
    """
    names = config.store().keys("runs/")
    run_ids = retention.select_prunable_runs(names, proven=proven_run_ids(), now=now)
    # Ids of another length come from another program that uses the engine.
    return [UUID(run_id) for run_id in run_ids if len(run_id) == RUN_ID_LENGTH]


def backup_overview(*, now: datetime) -> dict[str, Any]:
    """Return the fields of `OverviewSerializer`. Five queries and one listing of the store."""
    times = newest_backup_times()
    warnings = backup_warnings(now=now)
    try:
        prunable = prunable_run_ids(now=now)
    except ObjectStoreUnavailable:
        prunable = []
        warnings.append("The backup store is unavailable.")
    return {
        "newest_good_at": times["good"],
        "newest_proven_at": times["proven"],
        "warnings": warnings,
        "readable_here": config.can_decrypt_backups(),
        "prunes": prunable,
    }
