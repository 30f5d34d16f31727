"""The actor of an audit entry, and the origin of the request that caused it.

Middleware and services bind the origin; `audit.services.record` reads it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, TypedDict, Unpack
from uuid import UUID

from audit.models import Entry


@dataclass(frozen=True, slots=True)
class Actor:
    """The user, member of staff or process that caused an event.

    `kind` is one of `Entry.ActorKind`. `label` is an e-mail address and therefore a personal value. Staff act
    through the admin; the system acts through jobs and commands.
    """

    kind: str
    id: UUID | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """The request that caused an event.

    `session_id` is the id of a session or of an API key. `network` is an IPv4 /24 or an IPv6 /48, never a
    whole address. `impersonator_id` is the member of staff who acts as the actor.
    """

    request_id: str = ""
    session_id: UUID | None = None
    network: str = ""
    impersonator_id: UUID | None = None


class OriginFields(TypedDict, total=False):
    """The fields of `Origin` that `request_origin` can set. A field that is left out keeps its value."""

    request_id: str
    session_id: UUID | None
    network: str
    impersonator_id: UUID | None


SYSTEM = Actor(Entry.ActorKind.SYSTEM)
ANONYMOUS = Actor(Entry.ActorKind.ANONYMOUS)
UNKNOWN_ORIGIN = Origin()
_origin: ContextVar[Origin] = ContextVar("audit_origin", default=UNKNOWN_ORIGIN)


def user(person: Any) -> Actor:
    """Return the actor for a person who acts for themselves.

    `person` is a `User` row, or the principal of an access token or API key.
    """
    kind = Entry.ActorKind.KEY if getattr(person, "is_key", False) else Entry.ActorKind.USER
    return Actor(kind, person.pk)


def staff(person: Any) -> Actor:
    """Return the actor for a member of staff who uses the admin."""
    return Actor(Entry.ActorKind.STAFF, person.pk, person.email)


def origin() -> Origin:
    """Return the origin that is bound to the current context."""
    return _origin.get()


@contextmanager
def request_origin(**fields: Unpack[OriginFields]) -> Iterator[None]:
    """Bind the named fields of the origin for the length of the block; keep the other fields."""
    token = _origin.set(replace(_origin.get(), **fields))
    try:
        yield
    finally:
        _origin.reset(token)
