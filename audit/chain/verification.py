"""Does the trail still say what it said?

Walks the chain and compares it with rows, personal values and checkpoints.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from audit.chain import hashing, signing_keys
from audit.chain.checkpoints import PREFIX
from audit.chain.sealing import CANONICAL, oldest_pending
from audit.partitions import lowest_id
from core.storage import object_store

BATCH = 20_000
SEALED_WITHIN = timedelta(minutes=1)
WALK = f"""
    SELECT s.number, s.leaf, s.digest, e.id IS NOT NULL, {CANONICAL}
    FROM audit_seal s LEFT JOIN audit_entry e ON e.id = s.entry_id
    WHERE s.number >= %s AND s.number <= %s ORDER BY s.number
"""  # noqa: S608 - our own columns
LOOSE = """
    SELECT e.id::text FROM audit_entry e
    LEFT JOIN audit_seal s ON s.entry_id = e.id LEFT JOIN audit_pending p ON p.entry_id = e.id
    WHERE s.number IS NULL AND p.entry_id IS NULL AND e.id >= %s AND e.id < %s ORDER BY e.id LIMIT 1
"""
SWAPPED = """
    SELECT e.id::text, p.field, p.salt, p.value, e.personal::jsonb ->> p.field
    FROM audit_personal p LEFT JOIN audit_entry e ON e.id = p.entry_id WHERE p.entry_id >= %s AND p.entry_id < %s ORDER BY p.entry_id, p.field
"""
FIRST_ID = "00000000-0000-0000-0000-000000000000"
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(slots=True)
class VerificationResult:
    """What was found. `fault` is None, or the first thing wrong: what, where, and how it shows."""

    rows: int = 0
    first: int = 0
    last: int = 0
    checkpoints: int = 0
    erased: int = 0
    dropped: int = 0
    fault: dict[str, Any] | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.fault is None


class _Fault(Exception):
    def __init__(self, kind: str, **where: Any) -> None:
        self.facts = {"kind": kind, **where}


def verify(
    *, now: datetime, since: datetime | None = None, until: datetime | None = None
) -> VerificationResult:
    """Check the trail, or the part whose entries were made in [since, until).

    Reads in one snapshot, writes nothing.
    """
    verdict = VerificationResult()
    low = str(lowest_id(since)) if since else FIRST_ID
    high = str(lowest_id(until)) if until else LAST_ID
    try:
        with transaction.atomic():
            if not connection.savepoint_ids:  # the admin has begun a transaction already
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            _check(verdict, now=now, low=low, high=high)
    except _Fault as fault:
        verdict.fault = fault.facts
    except object_store.ObjectStoreUnavailable as error:
        verdict.warnings.append(
            f"the object store is away ({error}): checkpoints outside the database were not compared"
        )
    return verdict


def _check(verdict: VerificationResult, *, now: datetime, low: str, high: str) -> None:
    stubs = _stubs()
    known = _checkpoints_here()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT min(number), max(number) FROM audit_seal WHERE entry_id >= %s AND entry_id < %s",
            [low, high],
        )
        first, last = cursor.fetchone()
        cursor.execute("SELECT max(number) FROM audit_seal")
        newest = cursor.fetchone()[0] or 0
    if first is not None:
        verdict.first = first
        verdict.last = last
        _walk(verdict, first, last, stubs, known)
    _compare_store(verdict, known, newest)
    with connection.cursor() as cursor:
        cursor.execute(LOOSE, [low, high])
        if loose := cursor.fetchone():
            raise _Fault("inserted", entry=loose[0], why="the entry has no seal")
    if (waits := oldest_pending(now=now)) > SEALED_WITHIN.total_seconds():
        verdict.warnings.append(
            f"entries wait for their seal, the oldest for {waits:.0f} s: does the worker run?"
        )
    _check_personal(verdict, low, high)


def _walk(
    verdict: VerificationResult, first: int, last: int, stubs: list[list[int]], known: dict[int, str]
) -> None:
    expected = first
    digest = _digest_before(first)
    for number, entry_leaf, entry_digest, present, values in _rows(first, last):
        if number != expected:
            raise _Fault("missing", number=expected, why="the seal is gone")
        digest = hashing.link(digest, entry_leaf)
        if digest != entry_digest:
            raise _Fault("altered", number=number, why="the seal does not follow from the one before it")
        if present:
            if hashing.leaf(value.encode() for value in values) != entry_leaf:
                raise _Fault(
                    "altered", number=number, entry=values[0], why="the entry is not what was sealed"
                )
        elif any(low <= number <= high for low, high in stubs):
            verdict.dropped += 1
        else:
            raise _Fault("missing", number=number, why="the entry is gone")
        if number in known and known[number] != digest.hex():
            raise _Fault("checkpoint", number=number, why="the chain differs from a signed checkpoint")
        expected = number + 1
        verdict.rows = verdict.rows + 1


def _rows(first: int, last: int) -> Iterator[tuple[int, bytes, bytes, bool, tuple[str, ...]]]:
    for start in range(first, last + 1, BATCH):
        with connection.cursor() as cursor:
            cursor.execute(WALK, [start, min(start + BATCH - 1, last)])
            for number, entry_leaf, digest, present, *values in cursor.fetchall():
                yield number, bytes(entry_leaf), bytes(digest), present, tuple(values)


def _digest_before(number: int) -> bytes:
    if number == 1:
        return hashing.GENESIS
    with connection.cursor() as cursor:
        cursor.execute("SELECT digest FROM audit_seal WHERE number = %s", [number - 1])
        found = cursor.fetchone()
    if found is None:
        raise _Fault("missing", number=number - 1, why="the seal is gone")
    return bytes(found[0])


def _checkpoints_here() -> dict[int, str]:
    """Digests by number from this database's signed checkpoints.

    A signature that does not hold is a fault.
    """
    from audit.models import Checkpoint

    known = {}
    public = signing_keys.public_keys()
    for number, text in Checkpoint.objects.order_by("number").values_list("number", "document"):
        document = hashing.check(text, public)
        if document is None or document.get("number") != number:
            raise _Fault("checkpoint", number=number, why="the signature of a checkpoint does not hold")
        known[number] = document["digest"]
    return known


def _compare_store(verdict: VerificationResult, known: dict[int, str], newest: int) -> None:
    """The copies that nobody can overwrite decide: each must be signed, and say what the chain says."""
    store = object_store.object_store()
    public = signing_keys.public_keys()
    for key in store.keys(PREFIX):
        document = hashing.check((store.read(key) or b"").decode(errors="replace"), public)
        if document is None or key != f"{PREFIX}{document['number']:020d}.json":
            raise _Fault("checkpoint", key=key, why="the signature of a stored checkpoint does not hold")
        number = document["number"]
        if number > newest:
            raise _Fault(
                "checkpoint", number=number, why="the chain is shorter than a stored checkpoint says"
            )
        with connection.cursor() as cursor:
            cursor.execute("SELECT digest FROM audit_seal WHERE number = %s", [number])
            found = cursor.fetchone()
        if (
            found is None
            or bytes(found[0]).hex() != document["digest"]
            or known.get(number, document["digest"]) != document["digest"]
        ):
            raise _Fault("checkpoint", number=number, why="the chain differs from a stored checkpoint")
        verdict.checkpoints += 1


def _stubs() -> list[list[int]]:
    """Ranges of seals whose entries were dropped, by signed stubs."""
    from audit.models import Stub

    public = signing_keys.public_keys()
    ranges: list[list[int]] = []
    for partition, text in Stub.objects.values_list("partition", "document"):
        document = hashing.check(text, public)
        if document is None or document.get("partition") != partition:
            raise _Fault("stub", partition=partition, why="the signature of a stub does not hold")
        ranges += document["ranges"]
    return ranges


def _check_personal(verdict: VerificationResult, low: str, high: str) -> None:
    """Values that are there must be those that were hashed; those that are not there were erased."""
    kept = 0
    with connection.cursor() as cursor:
        cursor.execute(SWAPPED, [low, high])
        while rows := cursor.fetchmany(BATCH):
            for entry, name, salt, value, wanted in rows:
                kept += 1
                if hashlib.sha256(bytes(salt) + value.encode()).hexdigest() != wanted:
                    raise _Fault(
                        "altered", entry=entry, field=name, why="a personal value is not what was hashed"
                    )
        cursor.execute(
            "SELECT coalesce(sum((SELECT count(*) FROM jsonb_object_keys(personal::jsonb))), 0) FROM audit_entry WHERE id >= %s AND id < %s",
            [low, high],
        )
        verdict.erased = int(cursor.fetchone()[0]) - kept
