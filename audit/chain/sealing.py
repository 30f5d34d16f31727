"""Sealing: gives each new entry its number and its digest in the hash chain."""

from django.db import connection, transaction

from audit.chain import hashing

SEALER_LOCK_ID = 0x617564697473  # the bytes of "audits"; the advisory lock allows one sealer in a database
SEAL_BATCH_ROWS = 5_000
# The fields of an entry (alias `e`) as the text that is hashed, in the order of `hashing.HASHED_FIELDS`.
HASHED_COLUMNS = """
    e.id::text,
    e.event,
    e.actor_kind,
    coalesce(e.actor_id::text, ''),
    e.subject_type,
    coalesce(e.subject_id::text, ''),
    coalesce(e.site_id::text, ''),
    coalesce(e.owner_id::text, ''),
    coalesce(e.session_id::text, ''),
    e.request_id,
    e.facts,
    e.personal,
    (extract(epoch FROM e.created_at) * 1000000)::bigint::text
"""
PENDING_ENTRIES = f"""
    SELECT {HASHED_COLUMNS}
    FROM audit_pending p
    JOIN audit_entry e ON e.id = p.entry_id
    ORDER BY e.id
    LIMIT %s
"""  # noqa: S608 - HASHED_COLUMNS is a constant of ours
INSERT_SEALS = """
    INSERT INTO audit_seal
    SELECT * FROM unnest(%s::bigint[], %s::uuid[], %s::bytea[], %s::bytea[])
"""


def seal_pending(*, limit: int = SEAL_BATCH_ROWS) -> int:
    """Seal up to `limit` pending entries in the order of their ids. Return how many were sealed.

    Everything happens in one transaction under an advisory lock, so that a sealer that is killed leaves no
    gap, no fork and no number used twice. Returns 0 when another sealer holds the lock.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [SEALER_LOCK_ID])
        if not cursor.fetchone()[0]:
            return 0
        cursor.execute("SELECT number, digest FROM audit_seal ORDER BY number DESC LIMIT 1")
        number, digest = cursor.fetchone() or (0, hashing.GENESIS_DIGEST)
        cursor.execute(PENDING_ENTRIES, [limit])
        seals = []
        for fields in cursor.fetchall():
            number = number + 1
            leaf = hashing.hash_entry(field.encode() for field in fields)
            digest = hashing.chain_digest(bytes(digest), leaf)
            seals.append((number, fields[0], leaf, digest))
        if not seals:
            return 0
        columns = list(zip(*seals, strict=True))
        cursor.execute(INSERT_SEALS, [list(column) for column in columns])
        cursor.execute("DELETE FROM audit_pending WHERE entry_id = ANY(%s::uuid[])", [list(columns[1])])
    return len(seals)


def oldest_pending_seconds() -> float:
    """Return the age in seconds of the oldest entry without a seal, or 0 when every entry is sealed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(extract(epoch FROM now() - min(since)), 0) FROM audit_pending")
        return float(cursor.fetchone()[0])
