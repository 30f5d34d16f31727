"""Old months leave the database: exported first, then dropped, with a signed stub that keeps the rest
verifiable.
"""

import gzip
from datetime import datetime

from django.db import connection, transaction

from audit.actors import SYSTEM
from audit.chain import hashing, signing_keys
from audit.chain.export import export
from audit.models import Checkpoint, Stub
from audit.partitions import entry_partitions
from audit.services import record
from audit.subjects import Subject
from core.storage import object_store


class NotYet(Exception):
    """This month cannot go: the message says why."""


def drop_month(name: str, *, now: datetime) -> Stub:
    """Export everything to the object store, then drop the partition `name`. Raises NotYet, ObjectStoreAway.

    Personal values are not in that export: it cannot be changed any more, and whoever they are about may ask
    to be forgotten. The seals stay: they hold none either, and the chain runs through them.
    """
    months = entry_partitions.names()
    if name not in months or name >= entry_partitions.name_of(now):
        raise NotYet("only a month that is over can be dropped")
    with connection.cursor() as cursor:
        cursor.execute(
            # Checked above.
            f"SELECT s.number FROM {name} e LEFT JOIN audit_seal s ON s.entry_id = e.id ORDER BY s.number"  # noqa: S608
        )
        numbers = [row[0] for row in cursor.fetchall()]
    if any(number is None for number in numbers):
        raise NotYet("it has entries that are not sealed")
    if numbers and not Checkpoint.objects.filter(number__gte=numbers[-1]).exclude(stored_at=None).exists():
        raise NotYet("no stored checkpoint covers it yet")
    body = gzip.compress("".join(f"{line}\n" for line in export(personal_values=False)).encode(), mtime=0)
    object_store.object_store().create(f"audit/exports/{name}-{now:%Y%m%dT%H%M%SZ}.jsonl.gz", body)
    document = {
        "kind": "stub",
        "partition": name,
        "ranges": hashing.as_ranges(numbers),
        "entries": len(numbers),
        "at": now.isoformat(),
    }
    with transaction.atomic():
        stub = Stub.objects.create(
            partition=name, document=hashing.sign(document, *signing_keys.signing_key())
        )
        with connection.cursor() as cursor:
            # Checked above.
            cursor.execute(f"DELETE FROM audit_personal p USING {name} e WHERE e.id = p.entry_id")  # noqa: S608
            cursor.execute("SET LOCAL lock_timeout = '5s'")  # whoever waits for it stops everybody behind it
            cursor.execute(f"DROP TABLE {name}")
        record(
            "audit.month_dropped",
            actor=SYSTEM,
            subject=Subject("audit"),
            partition=name,
            entries=len(numbers),
        )
    return stub
