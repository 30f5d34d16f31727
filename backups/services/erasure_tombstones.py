"""Keeping erased people erased when a backup that contains them is restored.

The id of every erased person is copied into the store, beside the backups. After a restore the worker
compares the list with the database and erases again.
"""

import contextlib
import re
from datetime import datetime
from uuid import UUID

import structlog
from django.db.models import ProtectedError

from accounts.services.erasure import erase_person
from audit.actors import SYSTEM
from backups import config
from backups.models import Tombstone
from core.errors import DomainError
from core.storage.object_store import ObjectExists

STORE_PREFIX = "tombstones/"
BATCH_SIZE = 1000
UUID_PATTERN = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger(__name__)


def record_tombstone(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Handler for `lifecycle.on_erase`: keep the id of the erased person, which identifies no one by itself.

    Returns no counts, because nothing is deleted here.
    """
    if person:
        Tombstone.objects.get_or_create(person=person)
    return {}


def copy_tombstones_to_store(*, now: datetime) -> int:
    """Copy up to BATCH_SIZE new tombstones into the store. Returns their number.

    Raises ObjectStoreUnavailable.
    """
    tombstones = list(Tombstone.objects.filter(mirrored_at=None)[:BATCH_SIZE])
    store = config.store() if tombstones else None
    for tombstone in tombstones:
        assert store is not None
        with contextlib.suppress(ObjectExists):  # an earlier process ended before it could set mirrored_at
            store.create(f"{STORE_PREFIX}{tombstone.person}", tombstone.erased_at.isoformat().encode())
        Tombstone.objects.filter(pk=tombstone.pk).update(mirrored_at=now)
    return len(tombstones)


def erase_restored_people(*, now: datetime) -> int:
    """Erase people whose tombstone is in the store but not in the database. Returns their number.

    A missing tombstone means that the database was restored from before the erasure. Raises
    ObjectStoreUnavailable.
    """
    local_ids = {str(pk) for pk in Tombstone.objects.values_list("pk", flat=True)}
    stored_ids = [name.removeprefix(STORE_PREFIX) for name in config.store().keys(STORE_PREFIX)]
    missing_ids = [UUID(pk) for pk in stored_ids if pk not in local_ids and UUID_PATTERN.fullmatch(pk)]
    erased_count = 0
    for person in missing_ids:
        try:
            erased_count += bool(erase_person(person, actor=SYSTEM, now=now))
        except (DomainError, ProtectedError) as error:
            # For example, the person was the last admin at that time. An operator has to resolve it.
            log.error("repeated_erasure_failed", person=str(person), reason=type(error).__name__)
            continue
        Tombstone.objects.update_or_create(pk=person, defaults={"mirrored_at": now})
    if erased_count:
        log.warning("people_erased_again", people=erased_count)
    return erased_count
