"""Reads of the trail."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from audit.models import Entry, Personal
from audit.partitions import lowest_id

BATCH = 500
OF_ACTOR = {"actor", "network"}  # personal values of who did it; the others are of whose it is


def entries_of(person_id: UUID) -> QuerySet[Entry]:
    """What a person may see: what they did, and what was done to their account and their sites."""
    return Entry.objects.filter(Q(owner_id=person_id) | Q(actor_id=person_id))


def between(entries: QuerySet[Entry], since: datetime | None, until: datetime | None) -> QuerySet[Entry]:
    """Entries made in [since, until), by their ids, so that only those months are read."""
    if since:
        entries = entries.filter(id__gte=lowest_id(since))
    return entries.filter(id__lt=lowest_id(until)) if until else entries


def personal_of(entries: Iterable[UUID]) -> dict[UUID, dict[str, str]]:
    """Values by entry and field that have not been erased. One query."""
    found: dict[UUID, dict[str, str]] = defaultdict(dict)
    for entry, field, value in Personal.objects.filter(entry_id__in=list(entries)).values_list(
        "entry_id", "field", "value"
    ):
        found[entry][field] = value
    return found


def mentioning(entries: QuerySet[Entry], text: str) -> QuerySet[Entry]:
    """Entries whose event, facts or personal values contain `text`."""
    named = Personal.objects.filter(value__icontains=text).values("entry_id")
    return entries.filter(Q(event__icontains=text) | Q(facts__icontains=text) | Q(id__in=named))


def values_about(person_id: UUID, *, event: str, fields: Iterable[str]) -> set[str]:
    """Personal values in these fields of entries about a person."""
    about = Entry.objects.filter(owner_id=person_id, event=event).values("id")
    return set(Personal.objects.filter(entry_id__in=about, field__in=fields).values_list("value", flat=True))


def personal_data(person_id: UUID) -> Iterator[tuple[str, Any]]:
    """What the trail knows of a person: every entry about them or by them, oldest first."""
    yield "audit.jsonl", _lines(person_id)


def _lines(person_id: UUID) -> Iterator[dict[str, Any]]:
    wanted = entries_of(person_id).order_by("id").iterator(chunk_size=BATCH)
    while batch := list(islice(wanted, BATCH)):
        personal = personal_of(entry.pk for entry in batch)
        for entry in batch:
            yield {
                "at": entry.created_at,
                "event": entry.event,
                "by": entry.actor_kind,
                "about": entry.subject_type,
                "facts": json.loads(entry.facts),
                "personal": {
                    field: value
                    for field, value in personal.get(entry.pk, {}).items()
                    if person_id in ({entry.actor_id} if field in OF_ACTOR else {entry.owner_id})
                },
            }
