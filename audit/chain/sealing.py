"""The sealer: gives each new entry its number and its place in the chain."""

from datetime import datetime

from django.db import connection, transaction

from audit.chain import hashing

LOCK = 0x617564697473  # "audits": one sealer at a time in a database
BATCH = 5_000
CANONICAL = """
    e.id::text, e.event, e.actor_kind, coalesce(e.actor_id::text, ''), e.subject_type, coalesce(e.subject_id::text, ''),
    coalesce(e.site_id::text, ''), coalesce(e.owner_id::text, ''), coalesce(e.session_id::text, ''), e.request_id,
    e.facts, e.personal, (extract(epoch FROM e.created_at) * 1000000)::bigint::text
"""


def seal_pending(*, limit: int = BATCH) -> int:
    """Seal up to `limit` waiting entries in the order of their ids; return how many.

    All in one transaction under an advisory lock: killed at any point it leaves no gap, no fork and no double
    number. Another sealer that holds the lock makes this one return 0.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute("SELECT number, digest FROM audit_seal ORDER BY number DESC LIMIT 1")
        number, digest = cursor.fetchone() or (0, hashing.GENESIS)
        cursor.execute(
            # Our own columns.
            f"SELECT {CANONICAL} FROM audit_pending p JOIN audit_entry e ON e.id = p.entry_id ORDER BY e.id LIMIT %s",  # noqa: S608
            [limit],
        )
        seals = []
        for fields in cursor.fetchall():
            number = number + 1
            entry_leaf = hashing.leaf(field.encode() for field in fields)
            digest = hashing.link(bytes(digest), entry_leaf)
            seals.append((number, fields[0], entry_leaf, digest))
        if not seals:
            return 0
        columns = list(zip(*seals, strict=True))
        cursor.execute(
            "INSERT INTO audit_seal SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::bytea[], %s::bytea[])",
            [list(column) for column in columns],
        )
        cursor.execute("DELETE FROM audit_pending WHERE entry_id = ANY(%s::uuid[])", [list(columns[1])])
    return len(seals)


def oldest_pending(*, now: datetime) -> float:
    """Seconds that the longest waiting entry has waited; 0 when none waits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(extract(epoch FROM %s - min(since)), 0) FROM audit_pending", [now])
        return float(cursor.fetchone()[0])
