"""The subject of an audit entry: the kind and id of the object that an event is about."""

from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Subject:
    """What was acted on.

    `label` names it for people and is personal; `site_id` and `owner_id` say whose it is.
    """

    type: str
    id: UUID | None = None
    label: str = ""
    site_id: UUID | None = None
    owner_id: UUID | None = None


class HasSubject(Protocol):
    """A row that can say what it is in the trail."""

    def as_subject(self) -> Subject: ...
