"""People who were erased stay erased, also when a backup that still has them comes back."""

import contextlib
from datetime import datetime
from uuid import UUID

import structlog

from accounts.services import erase_person
from audit.actors import SYSTEM
from backups import places
from backups.models import Tombstone
from core.errors import DomainError
from core.objects import ObjectExists

PREFIX = "tombstones/"

log = structlog.get_logger(__name__)


def remember(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """The part of backups in erasing a person: their id, which says nothing by itself, is kept for later restores."""
    if person:
        Tombstone.objects.get_or_create(person=person)
    return {}


def mirror(*, now: datetime) -> int:
    """Copy new tombstones into the store; how many. Raises ObjectStoreAway."""
    waiting = list(Tombstone.objects.filter(mirrored_at=None)[:1000])
    store = places.store() if waiting else None
    for stone in waiting:
        assert store is not None
        with contextlib.suppress(ObjectExists):  # the process died before it could say so
            store.create(f"{PREFIX}{stone.person}", stone.erased_at.isoformat().encode())
        Tombstone.objects.filter(pk=stone.pk).update(mirrored_at=now)
    return len(waiting)


def obey(*, now: datetime) -> int:
    """Erase again whoever a restore has brought back; how many. Raises ObjectStoreAway."""
    known = {str(pk) for pk in Tombstone.objects.values_list("pk", flat=True)}
    missing = [
        UUID(name.removeprefix(PREFIX))
        for name in places.store().keys(PREFIX)
        if name.removeprefix(PREFIX) not in known
    ]
    again = 0
    for person in missing:
        try:
            again += bool(erase_person(person, actor=SYSTEM, now=now))
        except DomainError as refusal:  # the last admin of that time: for an operator to sort out
            log.error("not_erased_again", person=str(person), reason=refusal.message)
            continue
        Tombstone.objects.update_or_create(pk=person, defaults={"mirrored_at": now})
    if again:
        log.warning("erased_again", people=again)
    return again
