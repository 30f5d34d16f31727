"""The storage quota of a user: one limit in bytes over everything that the user owns, in all apps.

`core_storageusage` has one row for each user, with the stored bytes in total and by kind. Triggers on the
tables of the apps call the SQL function `core_add_storage_usage` in the transaction of each write. So the
writers of one owner wait for each other at that row, and the numbers are exact under parallel requests. A
service that adds bytes calls `require_room` after its write and before the commit.

An app registers its kinds of bytes in `AppConfig.ready()`, because core does not import it. The user model
has the field `quota_mib`, which replaces the default of the installation (OWNER_QUOTA_MIB) for one user.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet

from core import tenancy
from core.errors import QuotaExceeded
from core.models import StorageUsage

BYTES_PER_MIB = 1024 * 1024
MeasureFunction = Callable[[UUID], dict[str, int]]

_measure_functions: dict[tuple[str, ...], MeasureFunction] = {}


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes that a user may store, bytes that are stored, and the latter by kind."""

    allowed: int
    used: int
    parts: dict[str, int]


def register_kinds(*kinds: str, measure: MeasureFunction) -> None:
    """Register kinds of stored bytes. `measure(owner_id)` returns the stored bytes of each of them.

    It computes them from the stored rows and runs in the tenancy context `system`. The tables have triggers
    that call `core_add_storage_usage(owner_id, kind, added_bytes)`.
    """
    _measure_functions[kinds] = measure


def usage_of(user_id: UUID) -> Usage:
    """Return the storage of a user, with every registered kind. One query."""
    users = get_user_model()._base_manager.filter(pk=user_id)
    quota_mib, used, parts = users.values_list(
        "quota_mib", "storage_usage__used", "storage_usage__parts"
    ).get()
    kinds = [kind for group in _measure_functions for kind in group]
    return Usage(_allowed_bytes(quota_mib), used or 0, {kind: (parts or {}).get(kind, 0) for kind in kinds})


def require_room(owner_id: UUID | QuerySet[Any], *, added: int) -> None:
    """Refuse a write that exceeds the quota. Call it after the write, in its transaction. One query.

    `owner_id` is the id of the owner or a query for it. `added` are the bytes by which the write changed the
    storage: a write that adds nothing is never refused, also when the owner is above the quota. The triggers
    have locked the owner's row, so no other write can change the total before the commit.

    Raises QuotaExceeded.
    """
    if added <= 0:
        return
    rows = StorageUsage.objects.filter(owner_id__in=[owner_id] if isinstance(owner_id, UUID) else owner_id)
    used, quota_mib = rows.values_list("used", "owner__quota_mib").get()
    allowed = _allowed_bytes(quota_mib)
    if used > allowed:
        raise QuotaExceeded(used=used - added, allowed=allowed)


def recount(owner_id: UUID, *, dry_run: bool) -> tuple[dict[str, int], dict[str, int]] | None:
    """Compute the usage of a user from the stored rows, and save it unless `dry_run`.

    Returns the counted and the stored bytes by kind when they differ, else None. Writes of this owner wait.
    """
    with tenancy.context(tenancy.SYSTEM), transaction.atomic():
        StorageUsage.objects.bulk_create([StorageUsage(owner_id=owner_id)], ignore_conflicts=True)
        row = StorageUsage.objects.select_for_update(no_key=True).get(pk=owner_id)
        # In statements of their own, so that they see what was committed while this waited for the lock.
        stored: dict[str, int] = {}
        for measure in _measure_functions.values():
            stored |= measure(owner_id)
        counted = {kind: row.parts.get(kind, 0) for kind in stored}
        is_exact = counted == stored and row.used == sum(stored.values())
        row.parts = stored
        row.used = sum(stored.values())
        row.save()
        transaction.set_rollback(dry_run)
    return None if is_exact else (counted, stored)


def _allowed_bytes(quota_mib: int | None) -> int:
    """Return the bytes that a user with this `quota_mib` may store."""
    return settings.OWNER_QUOTA_BYTES if quota_mib is None else quota_mib * BYTES_PER_MIB
