"""The manifest of a run: everything a restore needs, and what the next run compares with.

It is stored as JSON, compressed with zstd and encrypted like a pack. It is the last object of a run that is
written. The JSON keys are part of the stored format and must not change.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import zstandard

from backups.engine.errors import BackupRefused, Damaged
from backups.engine.packs import Chunk
from backups.engine.table_names import TableName, format_table_name

FORMAT = 2
CTID_BYTES = 6  # four bytes for the block, two for the position in it


def shuffle_ctids(ctids: bytes) -> bytes:
    """Return the ctids column by column: all first bytes, then all second bytes, and so on.

    Most blocks are full of rows, so this order compresses to almost nothing.
    """
    return b"".join(ctids[column::CTID_BYTES] for column in range(CTID_BYTES))


def unshuffle_ctids(packed: bytes) -> list[int]:
    """Return shuffled ctids as integers.

    A range has many ctids, and this conversion in C is a hundred times as fast as a Python loop.
    """
    count = len(packed) // CTID_BYTES
    wide = bytearray(8 * count)
    for column in range(CTID_BYTES):
        wide[CTID_BYTES - 1 - column :: 8] = packed[column * count : (column + 1) * count]
    return memoryview(wide).cast("Q").tolist()


@dataclass(slots=True)
class Part:
    """The row versions of a range that one run stored: COPY text, and shuffled ctids in the same order."""

    rows: Chunk
    ctids: Chunk
    count: int


@dataclass(slots=True)
class BlockRange:
    """1,024 consecutive blocks of a table."""

    fingerprint: tuple[int, int]  # row count, and a hash over the (ctid, xmin) of the row versions
    parts: list[Part]
    # The ctids that exist. A table with only one part has no list, because all its rows exist.
    live_ctids: Chunk | None = None
    # Sum of the 64-bit hashes of the rows as text, or None when they were not hashed since the last change.
    hash_sum: int | None = None

    @property
    def row_count(self) -> int:
        return self.fingerprint[0]


@dataclass(slots=True)
class Table:
    """A table of a run, with its ranges in order."""

    oid: int
    name: TableName
    columns: list[str]
    shape: str  # digest; when it changes, equal (ctid, xmin) pairs no longer mean equal content
    load_into: TableName | None  # the table through which its rows are restored, when it is another one
    ranges: list[BlockRange] = field(default_factory=list)

    @property
    def label(self) -> str:
        return format_table_name(self.name)

    @property
    def rows(self) -> int:
        return sum(block_range.row_count for block_range in self.ranges)

    @property
    def checksum(self) -> tuple[int, int] | None:
        """Row count and sum of the row hashes, which a restored table must also have.

        None when some range was not hashed.
        """
        hash_sums = [block_range.hash_sum for block_range in self.ranges if block_range.hash_sum is not None]
        return (self.rows, sum(hash_sums)) if len(hash_sums) == len(self.ranges) else None


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema as an archive of `pg_dump`, and what a restore needs to know about it.

    `program_version` is the major version of that `pg_dump`. `digest` is an HMAC of the archive without the
    time in it. `catalogue` comes from `catalogue.describe_for_restore`.
    """

    archive: Chunk
    digest: str
    program_version: int
    search_path: str
    catalogue: dict[str, Any]
    warnings: list[str]


@dataclass(slots=True)
class Manifest:
    """One run."""

    run_id: str
    parent: str  # id of the run that an increment builds on, or empty
    taken_at: str  # ISO 8601 in UTC: the time of the snapshot
    cluster: dict[str, Any]
    xmin: int  # of the snapshot, 64 bits: all older transactions had ended
    xid: int
    lsn: str
    schema: Schema
    tables: list[Table]
    sequences: list[list[Any]]
    packs: dict[str, tuple[str, int]]  # SHA-256 and size of each pack of this run and the runs it builds on
    metadata: dict[str, Any] = field(default_factory=dict)  # from the caller, such as the application version

    def to_bytes(self) -> bytes:
        """Return the stored form before encryption."""
        text = json.dumps(self._to_json(), separators=(",", ":"), ensure_ascii=False).encode()
        return zstandard.ZstdCompressor(level=6).compress(text)

    @staticmethod
    def from_bytes(packed: bytes) -> "Manifest":
        """Parse the stored form. Raises Damaged, BackupRefused."""
        try:
            data = json.loads(zstandard.ZstdDecompressor().decompress(packed))
            if data["format"] != FORMAT:
                raise BackupRefused(
                    f"The backup has format {data['format']}, and this version reads format {FORMAT}."
                    " Restore it with the version that took it."
                )
            return Manifest(
                run_id=data["run"],
                parent=data["parent"],
                taken_at=data["at"],
                cluster=data["cluster"],
                xmin=data["xmin"],
                xid=data["xid"],
                lsn=data["lsn"],
                schema=_parse_schema(data["schema"]),
                tables=[_parse_table(table) for table in data["tables"]],
                sequences=data["sequences"],
                packs={name: (str(digest), int(size)) for name, (digest, size) in data["packs"].items()},
                metadata=data.get("facts", {}),
            )
        except (zstandard.ZstdError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise Damaged(f"A manifest cannot be read: {type(error).__name__}.") from None

    def _to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "run": self.run_id,
            "parent": self.parent,
            "at": self.taken_at,
            "cluster": self.cluster,
            "xmin": self.xmin,
            "xid": self.xid,
            "lsn": self.lsn,
            "schema": _schema_to_json(self.schema),
            "sequences": self.sequences,
            "packs": self.packs,
            "facts": self.metadata,
            "tables": [_table_to_json(table) for table in self.tables],
        }

    @property
    def provable(self) -> bool:
        """Whether a restore can be compared by content, and not only by row counts."""
        return all(table.checksum is not None for table in self.tables)

    def used_packs(self) -> set[str]:
        """Return the names of the packs that a restore of this run reads."""
        chunks: list[Chunk] = [self.schema.archive]
        for table in self.tables:
            for block_range in table.ranges:
                chunks += [chunk for part in block_range.parts for chunk in (part.rows, part.ctids)]
                chunks += [block_range.live_ctids] if block_range.live_ctids else []
        return {pack for chunk in chunks for pack, _, _ in chunk.pieces}


def _schema_to_json(schema: Schema) -> dict[str, Any]:
    return {
        "archive": schema.archive.to_json(),
        "digest": schema.digest,
        "program_version": schema.program_version,
        "search_path": schema.search_path,
        "catalogue": schema.catalogue,
        "warnings": schema.warnings,
    }


def _parse_schema(data: dict[str, Any]) -> Schema:
    return Schema(**{**data, "archive": Chunk.from_json(data["archive"])})


def _table_to_json(table: Table) -> list[Any]:
    ranges = list(map(_range_to_json, table.ranges))
    return [table.oid, table.name, table.columns, table.shape, table.load_into, ranges]


def _range_to_json(block_range: BlockRange) -> list[Any]:
    parts = [[part.rows.to_json(), part.ctids.to_json(), part.count] for part in block_range.parts]
    live_ctids = block_range.live_ctids and block_range.live_ctids.to_json()
    return [block_range.fingerprint, parts, live_ctids, block_range.hash_sum]


def _parse_table(data: list[Any]) -> Table:
    oid, name, columns, shape, load_into, ranges = data
    load_name = TableName(*load_into) if load_into else None
    return Table(oid, TableName(*name), columns, shape, load_name, list(map(_parse_range, ranges)))


def _parse_range(data: list[Any]) -> BlockRange:
    (row_count, version_hash), parts, live_ctids, hash_sum = data
    return BlockRange(
        (int(row_count), int(version_hash)),
        [Part(Chunk.from_json(rows), Chunk.from_json(ctids), int(count)) for rows, ctids, count in parts],
        Chunk.from_json(live_ctids) if live_ctids else None,
        None if hash_sum is None else int(hash_sum),
    )
