"""Writes of the audit trail: recording entries, creating partitions, erasing personal values."""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from audit import actors
from audit.actors import Actor
from audit.chain.hashing import hash_personal_value
from audit.chain.partitions import entry_partitions
from audit.subjects import HasSubject, Subject
from core.admission import cached_responses
from core.ids import uuid7
from core.storage.database import table_exists

RECORD_ENTRY = f"SELECT audit_record({', '.join(['%s'] * 13)}, %s::text[], %s::text[], %s::bytea[])"
ERASE_PERSONAL_VALUES = """
    DELETE FROM audit_personal p
    USING audit_entry e
    WHERE e.id = p.entry_id
      AND (
        p.value = ANY(%(values)s)
        OR (
          e.actor_id = %(person)s
          AND (p.field IN ('actor', 'network') OR coalesce(e.owner_id, %(person)s) = %(person)s)
        )
        OR (
          e.owner_id = %(person)s
          AND (p.field NOT IN ('actor', 'network') OR e.actor_id IS NULL)
        )
      )
"""


def record(
    event: str,
    *,
    actor: Actor,
    subject: HasSubject | Subject,
    personal: dict[str, str] | None = None,
    **details: Any,
) -> UUID:
    """Write one entry in the caller's transaction and return its id. One statement, without the ORM.

    `details` are JSON values that contain nothing personal and nothing secret; a changed field stands in
    `changes` as `{field: [before, after]}`. The values in `personal` can be erased later; the entry itself
    keeps only their salted hashes.
    """
    resolved = subject if isinstance(subject, Subject) else subject.as_subject()
    origin = actors.origin()
    if origin.impersonator_id:
        details["impersonator"] = origin.impersonator_id
    values = {"label": resolved.label, "actor": actor.label, "network": origin.network, **(personal or {})}
    values = {field: value for field, value in values.items() if value}
    salts = [os.urandom(16) for _ in values]
    hashes = {
        field: hash_personal_value(salt, value)
        for (field, value), salt in zip(values.items(), salts, strict=True)
    }
    entry_id = uuid7()
    parameters: list[Any] = [
        entry_id,
        event,
        actor.kind,
        actor.id,
        resolved.type,
        resolved.id,
        resolved.site_id,
        resolved.owner_id,
        origin.session_id,
        origin.request_id,
        json.dumps(details, sort_keys=True, default=str),
        json.dumps(hashes, sort_keys=True),
        datetime.now(UTC),
        list(values),
        list(values.values()),
        salts,
    ]
    with connection.cursor() as cursor:
        cursor.execute(RECORD_ENTRY, parameters)
    _invalidate_cached_responses(resolved)
    return entry_id


def _invalidate_cached_responses(subject: Subject) -> None:
    """Drop what the API has cached about a subject, after the commit: every change has an entry."""
    tags = [cached_responses.site_tag(subject.site_id)] if subject.site_id else []
    if subject.owner_id:
        tags.append(cached_responses.user_tag(subject.owner_id))
    if tags:
        cached_responses.invalidate_after_commit(*tags)


def create_partitions(**_: Any) -> int:
    """Create the missing monthly partitions and return how many.

    Runs once a day and after each migration; it accepts the arguments of the `post_migrate` signal.
    """
    return entry_partitions.create_ahead(timezone.now()) if table_exists(entry_partitions.parent) else 0


def erase_personal_values(*, owner_id: UUID | None, values: Sequence[str] = ()) -> int:
    """Erase a person's personal values from the trail and return how many. The chain stays valid.

    Where the person is the actor, erases their label and network; where they are the owner, erases all other
    fields. `values` (their e-mail addresses) are erased in every entry.
    """
    with connection.cursor() as cursor:
        cursor.execute(ERASE_PERSONAL_VALUES, {"person": owner_id, "values": list(values)})
        return int(cursor.rowcount)
