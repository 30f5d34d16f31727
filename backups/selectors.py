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

PROVEN_WITHIN = timedelta(hours=48)


def ages() -> dict[str, datetime | None]:
    """When the newest good and the newest proven run that can be restored were taken. One query."""
    good = Q(status=BackupRun.Status.DONE, pruned_at=None)
    found: dict[str, datetime | None] = BackupRun.objects.aggregate(
        good=Max("taken_at", filter=good), proven=Max("taken_at", filter=good & ~Q(proven_at=None))
    )
    return found


def warnings(*, now: datetime) -> list[str]:
    """What is not as it should be, in words. Three queries."""
    found = ages()
    late = 2 * settings.BACKUP_EVERY + timedelta(hours=1)
    faults = []
    if found["good"] is None:
        faults.append("There is no backup yet.")
    elif now - found["good"] > late:
        faults.append(f"The newest good backup is of {found['good']:%Y-%m-%d %H:%M} UTC.")
    if found["good"] and (found["proven"] is None or now - found["proven"] > PROVEN_WITHIN):
        faults.append("No backup of the last two days has been proven by restoring it.")
    last = BackupRun.objects.exclude(status__in=BackupRun.OPEN).order_by("-id").first()
    if last and last.status == BackupRun.Status.FAILED:
        faults.append(f"The last backup failed: {last.error}")
    elif last and last.warning:
        faults.append(last.warning)
    check = Check.objects.exclude(status__in=Check.OPEN).order_by("-id").first()
    if check and check.status == Check.Status.FAILED:
        faults.append(f"The last {check.kind} failed: {check.error}")
    return faults


def proven() -> list[str]:
    """The runs that a drill has proven, as the store names them."""
    return [pk.hex for pk in BackupRun.objects.exclude(proven_at=None).values_list("pk", flat=True)]


def prunes(*, now: datetime) -> list[UUID]:
    """Which runs the next pruning takes away.

    One query, and one listing of the store. Raises ObjectStoreAway.
    """
    found = retention.going(config.store().keys("runs/"), proven=proven(), now=now)
    return [
        UUID(run) for run in found if len(run) == 32
    ]  # others are of another program that uses the engine


def overview(*, now: datetime) -> dict[str, Any]:
    found = ages()
    faults = warnings(now=now)
    try:
        going = prunes(now=now)
    except ObjectStoreUnavailable:
        going = []
        faults.append("The store of backups does not answer.")
    return {
        "newest_good_at": found["good"],
        "newest_proven_at": found["proven"],
        "warnings": faults,
        "readable_here": config.readable(),
        "prunes": going,
    }
