"""Recording, and keeping the place where records go."""

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
from audit.chain.hashing import personal_hash
from audit.partitions import entry_partitions
from audit.subjects import HasSubject, Subject
from core.ids import uuid7

INSERT = f"SELECT audit_record({', '.join(['%s'] * 13)}, %s::text[], %s::text[], %s::bytea[])"


def record(
    event: str,
    *,
    actor: Actor,
    subject: HasSubject | Subject,
    personal: dict[str, str] | None = None,
    **facts: Any,
) -> UUID:
    """Write one entry in the caller's transaction; return its id.

    One call of a function in the database, no ORM.

    `facts` are JSON values without anything personal or secret, `changes` among them as `{field: [before,
    after]}`. `personal` values can be erased later; the entry keeps their salted hashes.
    """
    about = subject if isinstance(subject, Subject) else subject.as_subject()
    origin = actors.origin()
    if origin.impersonator_id:
        facts["impersonator"] = origin.impersonator_id
    known = {"label": about.label, "actor": actor.label, "network": origin.network, **(personal or {})}
    known = {field: value for field, value in known.items() if value}
    salts = [os.urandom(16) for _ in known]
    hashes = {
        field: personal_hash(salt, value) for (field, value), salt in zip(known.items(), salts, strict=True)
    }
    entry = uuid7()
    values: list[Any] = [
        entry,
        event,
        actor.kind,
        actor.id,
        about.type,
        about.id,
        about.site_id,
        about.owner_id,
        origin.session_id,
        origin.request_id,
        json.dumps(facts, sort_keys=True, default=str),
        json.dumps(hashes, sort_keys=True),
        datetime.now(UTC),
        list(known),
        list(known.values()),
        salts,
    ]
    with connection.cursor() as cursor:
        cursor.execute(INSERT, values)
    return entry


def make_partitions(**_: Any) -> int:
    """Make the months that are missing ahead; after each migration and once a day."""
    return entry_partitions.create_ahead(timezone.now())


def erase_personal(*, owner_id: UUID | None, values: Sequence[str] = ()) -> int:
    """Erase what entries tell about this person: as the actor who they were and where they came from, as the
    owner all the rest, and `values` (their addresses) wherever they stand. Return how many; the chain stays
    valid.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM audit_personal p USING audit_entry e WHERE e.id = p.entry_id AND (p.value = ANY(%(values)s) "
            "OR (e.actor_id = %(person)s AND (p.field IN ('actor', 'network') OR coalesce(e.owner_id, %(person)s) = %(person)s)) "
            "OR (e.owner_id = %(person)s AND (p.field NOT IN ('actor', 'network') OR e.actor_id IS NULL)))",
            {"person": owner_id, "values": list(values)},
        )
        return int(cursor.rowcount)
