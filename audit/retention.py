"""Retention of the audit trail.

Old months are exported to the object store and dropped from the database. A signed stub keeps the rest of the
chain verifiable.
"""

import gzip
from datetime import datetime

from django.db import connection, transaction

from audit.actors import SYSTEM
from audit.chain import hashing, signing_keys
from audit.chain.export import export_lines
from audit.chain.partitions import entry_partitions
from audit.models import Checkpoint, Stub
from audit.services import record
from audit.subjects import Subject
from core.storage import object_store


class MonthNotDroppable(Exception):
    """The month cannot be dropped yet; the message gives the reason."""


def archive_and_drop_month(name: str, *, now: datetime) -> Stub:
    """Export the whole trail to the object store, then drop the partition `name`.

    Raises MonthNotDroppable and ObjectStoreUnavailable.

    The export contains no personal values, because it cannot be changed later and a person may ask for
    erasure. The seals stay in the database: they contain no personal values, and the chain runs through them.
    """
    seal_numbers = _droppable_seal_numbers(name, now)
    lines = "".join(f"{line}\n" for line in export_lines(personal_values=False))
    archive = gzip.compress(lines.encode(), mtime=0)
    object_store.object_store().create(f"audit/exports/{name}-{now:%Y%m%dT%H%M%SZ}.jsonl.gz", archive)
    document = {
        "kind": "stub",
        "partition": name,
        "ranges": hashing.to_inclusive_ranges(seal_numbers),
        "entries": len(seal_numbers),
        "at": now.isoformat(),
    }
    with transaction.atomic():
        stub = Stub.objects.create(
            partition=name, document=hashing.sign_document(document, *signing_keys.signing_key())
        )
        with connection.cursor() as cursor:
            # `_droppable_seal_numbers` compared `name` with the catalogue.
            delete_personal_values = f"""
                DELETE FROM audit_personal p
                USING {name} e
                WHERE e.id = p.entry_id
            """  # noqa: S608
            cursor.execute(delete_personal_values)
            # Statements that need this table queue behind a waiting DROP TABLE, so it must not wait long.
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute(f"DROP TABLE {name}")
        record(
            "audit.month_dropped",
            actor=SYSTEM,
            subject=Subject("audit"),
            partition=name,
            entries=len(seal_numbers),
        )
    return stub


def _droppable_seal_numbers(name: str, now: datetime) -> list[int]:
    """Return the seal numbers of the entries in a partition, ascending. Raises MonthNotDroppable."""
    if name not in entry_partitions.names() or name >= entry_partitions.name_of(now):
        raise MonthNotDroppable("only a month that is over can be dropped")
    # `name` was compared with the catalogue above.
    select_numbers = f"""
        SELECT s.number
        FROM {name} e
        LEFT JOIN audit_seal s ON s.entry_id = e.id
        ORDER BY s.number
    """  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(select_numbers)
        numbers = [row[0] for row in cursor.fetchall()]
    if any(number is None for number in numbers):
        raise MonthNotDroppable("it has entries that are not sealed")
    if numbers and not Checkpoint.objects.filter(number__gte=numbers[-1]).exclude(stored_at=None).exists():
        raise MonthNotDroppable("no stored checkpoint covers it yet")
    return numbers
