"""Reads of the audit trail."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.lookups import IsNull

from audit.chain.partitions import lowest_id
from audit.models import Entry, Personal
from core import lifecycle

EXPORT_BATCH_ROWS = 500
MAX_SEARCHED_ENTRIES = 10_000
ACTOR_FIELDS = {"actor", "network"}  # personal values of the actor; all others belong to the owner


def entries_visible_to(user_id: UUID) -> QuerySet[Entry]:
    """Return the entries that a user may see: of their own acts, of their account and of their sites."""
    return Entry.objects.filter(Q(owner_id=user_id) | Q(actor_id=user_id))


def is_impersonated(entry: Entry) -> bool:
    """Return whether staff acted as the actor of the entry, so that its network is theirs."""
    return "impersonator" in json.loads(entry.facts)


def hidden_fields(entry: Entry, reader_id: UUID | None) -> set[str]:
    """Return the personal fields of an entry that a reader without the permission `audit.read` may not see.

    The network of another actor is hidden: of staff, who may work from home, of other members and of jobs. A
    customer sees the networks of their own acts and of anonymous callers, such as failed sign-ins. None as
    `reader_id` is staff, who see everything.
    """
    is_own = entry.actor_id == reader_id and not is_impersonated(entry)
    is_visible = reader_id is None or is_own or entry.actor_kind == Entry.ActorKind.ANONYMOUS
    return set() if is_visible else {"network"}


def filter_created_between(
    entries: QuerySet[Entry], since: datetime | None, until: datetime | None
) -> QuerySet[Entry]:
    """Keep entries created in [since, until).

    Filters by id (UUIDv7), so that PostgreSQL reads the partitions of those months only.
    """
    if since:
        entries = entries.filter(id__gte=lowest_id(since))
    return entries.filter(id__lt=lowest_id(until)) if until else entries


def personal_values_by_entry(entry_ids: Iterable[UUID]) -> dict[UUID, dict[str, str]]:
    """Return the personal values that are not erased, by entry id and field. One query."""
    values: dict[UUID, dict[str, str]] = defaultdict(dict)
    rows = Personal.objects.filter(entry_id__in=list(entry_ids))
    for entry_id, field, value in rows.values_list("entry_id", "field", "value"):
        values[entry_id][field] = value
    return values


def search_entries(entries: QuerySet[Entry], text: str) -> QuerySet[Entry]:
    """Return the entries whose event, details or personal values contain `text`, ignoring case.

    For staff. Only the newest MAX_SEARCHED_ENTRIES of `entries` are searched.
    """
    newest = entries.order_by("-id").values("id")[:MAX_SEARCHED_ENTRIES]
    return _filter_by_text(entries.filter(id__in=newest), text, _has_value(text))


def search_entries_visible_to(user_id: UUID, entries: QuerySet[Entry], text: str) -> QuerySet[Entry]:
    """As `search_entries`, for the entries that a user may see and the values that `hidden_fields` allows.

    Each part of the union is one scan of an index that begins with the user, so that PostgreSQL reads no row
    of another user before it compares texts.
    """
    newest_of_owner, newest_of_actor = (
        entries.filter(condition).order_by("-id").values("id")[:MAX_SEARCHED_ENTRIES]
        for condition in (Q(owner_id=user_id), Q(actor_id=user_id))
    )
    own = Q(actor_id=user_id) & ~Q(facts__contains='"impersonator"')
    visible_network = (own | Q(actor_kind=Entry.ActorKind.ANONYMOUS)) & _has_value(text, field="network")
    has_value = visible_network | _has_value(text, exclude_field="network")
    return _filter_by_text(entries.filter(id__in=newest_of_owner.union(newest_of_actor)), text, has_value)


def _filter_by_text(entries: QuerySet[Entry], text: str, has_value: Q) -> QuerySet[Entry]:
    return entries.filter(Q(event__icontains=text) | Q(facts__icontains=text) | has_value)


def _has_value(text: str, *, field: str = "", exclude_field: str = "") -> Q:
    """Return the condition that a personal value of an entry contains `text`.

    A scalar subquery is evaluated for each entry, by the primary key of the values. PostgreSQL may evaluate
    EXISTS and IN once for all rows of the table instead, which are those of every customer.
    """
    values = Personal.objects.filter(entry_id=OuterRef("id"), value__icontains=text)
    if field:
        values = values.filter(field=field)
    if exclude_field:
        values = values.exclude(field=exclude_field)
    return Q(IsNull(Subquery(values.values("field")[:1]), False))


def find_personal_values(owner_id: UUID, *, event: str, fields: Iterable[str]) -> set[str]:
    """Return the personal values in `fields` of the owner's entries of one event. One query."""
    entry_ids = Entry.objects.filter(owner_id=owner_id, event=event).values("id")
    values = Personal.objects.filter(entry_id__in=entry_ids, field__in=fields)
    return set(values.values_list("value", flat=True))


def personal_data(user_id: UUID) -> Iterator[lifecycle.ExportedFile]:
    """Yield the audit part of a user's data export: every entry about them or by them, oldest first."""
    yield "audit.jsonl", lambda: _export_lines(user_id)


def _export_lines(user_id: UUID) -> Iterator[dict[str, Any]]:
    entries = entries_visible_to(user_id).order_by("id").iterator(chunk_size=EXPORT_BATCH_ROWS)
    while batch := list(islice(entries, EXPORT_BATCH_ROWS)):
        personal = personal_values_by_entry(entry.pk for entry in batch)
        for entry in batch:
            yield {
                "at": entry.created_at,
                "event": entry.event,
                "by": entry.actor_kind,
                "about": entry.subject_type,
                "facts": json.loads(entry.facts),
                "personal": _own_values(entry, user_id, personal.get(entry.pk, {})),
            }


def _own_values(entry: Entry, user_id: UUID, values: dict[str, str]) -> dict[str, str]:
    """Keep the personal values that belong to the user: not those of another actor or owner.

    What staff do who act as the user has the network of the staff.
    """
    hidden = {"network"} if is_impersonated(entry) else set()
    return {
        field: value
        for field, value in values.items()
        if field not in hidden and user_id == (entry.actor_id if field in ACTOR_FIELDS else entry.owner_id)
    }
