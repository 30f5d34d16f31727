"""Who did something, and from where: bound at the edges, read by `record`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from audit.models import Entry


@dataclass(frozen=True, slots=True)
class Actor:
    """`label` (an e-mail address) is personal; staff act through the admin, the system through jobs and
    commands.
    """

    kind: str
    id: UUID | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a change comes from.

    `session_id` may be an API key's. `network` is an IPv4 /24 or IPv6 /48, never a whole address.
    `impersonator_id` is the member of staff who acts as the actor.
    """

    request_id: str = ""
    session_id: UUID | None = None
    network: str = ""
    impersonator_id: UUID | None = None


SYSTEM = Actor(Entry.ActorKind.SYSTEM)
ANONYMOUS = Actor(Entry.ActorKind.ANONYMOUS)
NO_ORIGIN = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=NO_ORIGIN)


def user(person: Any) -> Actor:
    """A person acting for themselves: a user's row, or a caller known by token or API key."""
    kind = Entry.ActorKind.KEY if getattr(person, "is_key", False) else Entry.ActorKind.USER
    return Actor(kind, person.pk)


def staff(person: Any) -> Actor:
    """A member of staff in the admin."""
    return Actor(Entry.ActorKind.STAFF, person.pk, person.email)


def origin() -> Origin:
    return _origin.get()


@contextmanager
def request_origin(**facts: Any) -> Iterator[None]:
    """Bind what is known of the origin while the block runs."""
    token = _origin.set(replace(_origin.get(), **facts))
    try:
        yield
    finally:
        _origin.reset(token)
