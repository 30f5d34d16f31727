"""Verification of the audit trail.

Recomputes the hash chain and compares it with the entries, with their personal values, and with the signed
checkpoints in the database and in the object store.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from audit.chain import hashing, signing_keys
from audit.chain.checkpoints import CHECKPOINT_PREFIX, object_key
from audit.chain.partitions import lowest_id
from audit.chain.sealing import HASHED_COLUMNS, oldest_pending_seconds
from audit.models import Checkpoint, Stub
from core.storage import object_store

ROWS_PER_QUERY = 20_000
MAX_PENDING_AGE = timedelta(minutes=1)  # an older entry without a seal is reported as a warning
SEALED_ROWS = f"""
    SELECT s.number, s.leaf, s.digest, e.id IS NOT NULL, {HASHED_COLUMNS}
    FROM audit_seal s
    LEFT JOIN audit_entry e ON e.id = s.entry_id
    WHERE s.number >= %s AND s.number <= %s
    ORDER BY s.number
"""  # noqa: S608 - HASHED_COLUMNS is a constant of ours
SEAL_RANGE = "SELECT min(number), max(number) FROM audit_seal WHERE entry_id >= %s AND entry_id < %s"
DIGEST_OF_SEAL = "SELECT digest FROM audit_seal WHERE number = %s"
# The first entry that is neither sealed nor waiting for its seal.
FIRST_UNKNOWN_ENTRY = """
    SELECT e.id::text
    FROM audit_entry e
    LEFT JOIN audit_seal s ON s.entry_id = e.id
    LEFT JOIN audit_pending p ON p.entry_id = e.id
    WHERE s.number IS NULL AND p.entry_id IS NULL AND e.id >= %s AND e.id < %s
    ORDER BY e.id
    LIMIT 1
"""
PERSONAL_VALUES = """
    SELECT e.id::text, p.field, p.salt, p.value, e.personal::jsonb ->> p.field
    FROM audit_personal p
    LEFT JOIN audit_entry e ON e.id = p.entry_id
    WHERE p.entry_id >= %s AND p.entry_id < %s
    ORDER BY p.entry_id, p.field
"""
PERSONAL_HASH_COUNT = """
    SELECT coalesce(sum((SELECT count(*) FROM jsonb_object_keys(personal::jsonb))), 0)
    FROM audit_entry
    WHERE id >= %s AND id < %s
"""
FIRST_ID = "00000000-0000-0000-0000-000000000000"
LAST_ID = "ffffffff-ffff-ffff-ffff-ffffffffffff"


@dataclass(slots=True)
class VerificationResult:
    """The result of one verification.

    `rows` counts the verified seals; `first` and `last` are the numbers of the first and the last seal in
    the range. `checkpoints` counts compared objects in the object store, `erased` counts erased personal
    values, and `dropped` counts entries whose month was archived. `fault` describes the first fault by its
    `kind`, its location and `why`; it is None for an intact trail.
    """

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

    @property
    def nothing_verified(self) -> bool:
        """Whether there was no sealed entry, so that no fault is no proof."""
        return self.good and not self.rows


class _FaultDetected(Exception):
    """Ends the verification. `details` becomes `VerificationResult.fault`."""

    def __init__(self, kind: str, why: str, **location: str | int) -> None:
        super().__init__(why)
        self.details = {"kind": kind, **location, "why": why}


def verify_trail(
    *, now: datetime, since: datetime | None = None, until: datetime | None = None
) -> VerificationResult:
    """Verify the whole audit trail, or the entries that were created in [since, until).

    Reads in one snapshot (REPEATABLE READ, READ ONLY) and writes nothing.
    """
    result = VerificationResult()
    first_id = str(lowest_id(since)) if since else FIRST_ID
    end_id = str(lowest_id(until)) if until else LAST_ID
    try:
        with transaction.atomic():
            # Inside another transaction, as in the admin, the isolation level cannot be set any more.
            if not connection.savepoint_ids:
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            _verify_range(result, now=now, first_id=first_id, end_id=end_id)
    except _FaultDetected as fault:
        result.fault = fault.details
    except object_store.ObjectStoreUnavailable as error:
        result.warnings.append(
            f"The object store is unavailable ({error}): checkpoints outside the database were not compared."
        )
    return result


def _verify_range(result: VerificationResult, *, now: datetime, first_id: str, end_id: str) -> None:
    dropped_ranges = _dropped_seal_ranges()
    signed_digests = _signed_digests_in_database()
    with connection.cursor() as cursor:
        cursor.execute(SEAL_RANGE, [first_id, end_id])
        first, last = cursor.fetchone()
        cursor.execute("SELECT max(number) FROM audit_seal")
        newest = cursor.fetchone()[0] or 0
    if first is not None:
        result.first = first
        result.last = last
        _verify_chain(result, dropped_ranges, signed_digests)
    _compare_with_object_store(result, signed_digests, newest)
    _refuse_unknown_entries(first_id, end_id)
    pending_seconds = oldest_pending_seconds()
    if pending_seconds > MAX_PENDING_AGE.total_seconds():
        result.warnings.append(
            f"Entries wait to be sealed, the oldest for {pending_seconds:.0f} s. Is the worker running?"
        )
    _verify_personal_values(result, first_id, end_id)


def _verify_chain(
    result: VerificationResult, dropped_ranges: list[list[int]], signed_digests: dict[int, str]
) -> None:
    """Recompute the chain from `result.first` to `result.last`. Raises _FaultDetected."""
    expected_number = result.first
    digest = _digest_before(result.first)
    for number, leaf, stored_digest, entry_exists, values in _sealed_rows(result.first, result.last):
        if number != expected_number:
            raise _FaultDetected("missing", "The seal is missing.", number=expected_number)
        digest = hashing.chain_digest(digest, leaf)
        if digest != stored_digest:
            raise _FaultDetected(
                "altered", "The seal does not follow from the seal before it.", number=number
            )
        if entry_exists:
            if hashing.hash_entry(value.encode() for value in values) != leaf:
                raise _FaultDetected(
                    "altered", "The entry differs from what was sealed.", number=number, entry=values[0]
                )
        elif any(low <= number <= high for low, high in dropped_ranges):
            result.dropped += 1
        else:
            raise _FaultDetected("missing", "The entry is missing.", number=number)
        if signed_digests.get(number, digest.hex()) != digest.hex():
            raise _FaultDetected("checkpoint", "The chain differs from a signed checkpoint.", number=number)
        expected_number = number + 1
        result.rows = result.rows + 1


def _sealed_rows(first: int, last: int) -> Iterator[tuple[int, bytes, bytes, bool, tuple[str, ...]]]:
    """Yield seal number, leaf hash, digest, whether the entry exists, and its hashed fields."""
    for start in range(first, last + 1, ROWS_PER_QUERY):
        with connection.cursor() as cursor:
            cursor.execute(SEALED_ROWS, [start, min(start + ROWS_PER_QUERY - 1, last)])
            for number, leaf, digest, entry_exists, *values in cursor.fetchall():
                yield number, bytes(leaf), bytes(digest), entry_exists, tuple(values)


def _digest_before(number: int) -> bytes:
    if number == 1:
        return hashing.GENESIS_DIGEST
    digest = _digest_of_seal(number - 1)
    if digest is None:
        raise _FaultDetected("missing", "The seal is missing.", number=number - 1)
    return digest


def _digest_of_seal(number: int) -> bytes | None:
    with connection.cursor() as cursor:
        cursor.execute(DIGEST_OF_SEAL, [number])
        row = cursor.fetchone()
    return bytes(row[0]) if row else None


def _signed_digests_in_database() -> dict[int, str]:
    """Return digests by seal number from the checkpoints in the database.

    Raises _FaultDetected for an invalid signature.
    """
    digests = {}
    public_keys = signing_keys.public_keys()
    for number, text in Checkpoint.objects.order_by("number").values_list("number", "document"):
        document = hashing.parse_signed_document(text, public_keys)
        if document is None or document.get("number") != number:
            raise _FaultDetected("checkpoint", "The signature of a checkpoint is invalid.", number=number)
        digests[number] = document["digest"]
    return digests


def _compare_with_object_store(
    result: VerificationResult, signed_digests: dict[int, str], newest: int
) -> None:
    """Compare every checkpoint in the object store with the chain. Raises _FaultDetected.

    These copies cannot be overwritten, so they decide: each must be signed and match the chain.
    """
    store = object_store.object_store()
    public_keys = signing_keys.public_keys()
    for key in store.keys(CHECKPOINT_PREFIX):
        text = (store.read(key) or b"").decode(errors="replace")
        document = hashing.parse_signed_document(text, public_keys)
        if document is None or key != object_key(document["number"]):
            raise _FaultDetected("checkpoint", "The signature of a stored checkpoint is invalid.", key=key)
        number = document["number"]
        if number > newest:
            raise _FaultDetected(
                "checkpoint", "The chain ends before a seal that a stored checkpoint covers.", number=number
            )
        digest = _digest_of_seal(number)
        if (
            digest is None
            or digest.hex() != document["digest"]
            or signed_digests.get(number, document["digest"]) != document["digest"]
        ):
            raise _FaultDetected("checkpoint", "The chain differs from a stored checkpoint.", number=number)
        result.checkpoints += 1


def _dropped_seal_ranges() -> list[list[int]]:
    """Return the inclusive ranges of seal numbers whose entries were dropped, as signed stubs state them.

    Raises _FaultDetected for an invalid signature.
    """
    public_keys = signing_keys.public_keys()
    ranges: list[list[int]] = []
    for partition, text in Stub.objects.values_list("partition", "document"):
        document = hashing.parse_signed_document(text, public_keys)
        if document is None or document.get("partition") != partition:
            raise _FaultDetected("stub", "The signature of a stub is invalid.", partition=partition)
        ranges += document["ranges"]
    return ranges


def _refuse_unknown_entries(first_id: str, end_id: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(FIRST_UNKNOWN_ENTRY, [first_id, end_id])
        if row := cursor.fetchone():
            raise _FaultDetected("inserted", "The entry has no seal.", entry=row[0])


def _verify_personal_values(result: VerificationResult, first_id: str, end_id: str) -> None:
    """Compare the stored personal values with their hashes, and count the erased values.

    Raises _FaultDetected.
    """
    stored_count = 0
    with connection.cursor() as cursor:
        cursor.execute(PERSONAL_VALUES, [first_id, end_id])
        while rows := cursor.fetchmany(ROWS_PER_QUERY):
            for entry, name, salt, value, sealed_hash in rows:
                stored_count += 1
                if hashlib.sha256(bytes(salt) + value.encode()).hexdigest() != sealed_hash:
                    raise _FaultDetected(
                        "altered", "A personal value differs from its hash.", entry=entry, field=name
                    )
        cursor.execute(PERSONAL_HASH_COUNT, [first_id, end_id])
        result.erased = int(cursor.fetchone()[0]) - stored_count
