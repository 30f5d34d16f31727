"""The subject of an audit entry: the type and id of the object that an event is about."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an event is about.

    `label` is a name for people and is a personal value. `site_id` and `owner_id` are the site and the user
    that the object belongs to.
    """

    type: str
    id: UUID | None = None
    label: str = ""
    site_id: UUID | None = None
    owner_id: UUID | None = None


class HasSubject(Protocol):
    """A model instance that can describe itself as the subject of an audit entry."""

    def as_subject(self) -> Subject: ...
