"""People who were erased stay erased, also when a backup that still has them comes back."""

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

PREFIX = "tombstones/"
ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

log = structlog.get_logger(__name__)


def remember(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """The part of backups in erasing a person: their id, which says nothing by itself, is kept for later
    restores.
    """
    if person:
        Tombstone.objects.get_or_create(person=person)
    return {}


def mirror(*, now: datetime) -> int:
    """Copy new tombstones into the store; how many. Raises ObjectStoreAway."""
    waiting = list(Tombstone.objects.filter(mirrored_at=None)[:1000])
    store = config.store() if waiting else None
    for stone in waiting:
        assert store is not None
        with contextlib.suppress(ObjectExists):  # the process died before it could say so
            store.create(f"{PREFIX}{stone.person}", stone.erased_at.isoformat().encode())
        Tombstone.objects.filter(pk=stone.pk).update(mirrored_at=now)
    return len(waiting)


def obey(*, now: datetime) -> int:
    """Erase again whoever a restore has brought back; how many. Raises ObjectStoreAway."""
    known = {str(pk) for pk in Tombstone.objects.values_list("pk", flat=True)}
    stored = [name.removeprefix(PREFIX) for name in config.store().keys(PREFIX)]
    missing = [UUID(name) for name in stored if name not in known and ID.fullmatch(name)]
    again = 0
    for person in missing:
        try:
            again += bool(erase_person(person, actor=SYSTEM, now=now))
        except (DomainError, ProtectedError) as refusal:
            # Such as the last admin of that time: for an operator to sort out.
            log.error("not_erased_again", person=str(person), reason=type(refusal).__name__)
            continue
        Tombstone.objects.update_or_create(pk=person, defaults={"mirrored_at": now})
    if again:
        log.warning("erased_again", people=again)
    return again
