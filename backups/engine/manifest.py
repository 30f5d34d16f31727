"""What a run is: everything that a restore needs to know, and the next run to find what changed.

Sealed like a pack, published last.
"""

import json
from dataclasses import dataclass, field
from typing import Any

import zstandard

from backups.engine.errors import Damaged
from backups.engine.packs import Chunk

FORMAT = 1
ID = 6  # bytes of a ctid: block and offset


def shuffled(ids: bytes) -> bytes:
    """Ctids with their first bytes first, then their second, and so on: most blocks are full of rows, so
    little is left of that once it is compressed.
    """
    return b"".join(ids[place::ID] for place in range(ID))


def unshuffled(packed: bytes) -> list[int]:
    """Ctids, one by one, as numbers: those of a range are many, and C makes numbers of bytes a hundred times
    as fast as a loop does.
    """
    count = len(packed) // ID
    wide = bytearray(8 * count)
    for place in range(ID):
        wide[ID - 1 - place :: 8] = packed[place * count : (place + 1) * count]
    return memoryview(wide).cast("Q").tolist()


@dataclass(slots=True)
class Part:
    """Row versions that one run shipped of a range: their rows as COPY text, and in the same order their
    ctids (`shuffled`).
    """

    rows: Chunk
    ids: Chunk
    count: int


@dataclass(slots=True)
class Range:
    """1,024 blocks of a table.

    `mark` is what its versions looked like; `live` lists the ctids that are there, where older parts have
    more.
    """

    mark: tuple[int, int]  # count, and a hash over (ctid, xmin)
    parts: list[Part]
    live: Chunk | None = None
    total: int | None = (
        None  # of the 64-bit hashes of its rows as text, if they were summed since it last changed
    )


@dataclass(slots=True)
class Table:
    schema: str
    name: str
    columns: list[str]
    shape: str  # whatever, when it changes, makes (ctid, xmin) say nothing of the content
    ranges: list[Range] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def rows(self) -> int:
        return sum(one.mark[0] for one in self.ranges)

    @property
    def sums(self) -> tuple[int, int] | None:
        """Count of rows and sum of their hashes: what a restored table must have, too.

        None where not all were summed.
        """
        totals = [one.total for one in self.ranges if one.total is not None]
        return (self.rows, sum(totals)) if len(totals) == len(self.ranges) else None


@dataclass(slots=True)
class Manifest:
    run: str
    parent: str
    at: str  # ISO 8601, UTC: when the snapshot was taken
    cluster: dict[str, Any]
    xmin: int  # of the snapshot, 64 bits: older transactions were over
    xid: int
    lsn: str
    schema: dict[str, Any]
    tables: list[Table]
    sequences: list[list[Any]]
    packs: dict[str, tuple[str, int]]  # of this run and of all that it builds on
    facts: dict[str, Any] = field(
        default_factory=dict
    )  # of whoever takes it, such as the version of the application

    def sealed_form(self) -> bytes:
        text = json.dumps(_plain(self), separators=(",", ":"), ensure_ascii=False).encode()
        return zstandard.ZstdCompressor(level=6).compress(text)

    @staticmethod
    def read(packed: bytes) -> "Manifest":
        """Raises Damaged."""
        try:
            found = json.loads(zstandard.ZstdDecompressor().decompress(packed))
            if found["format"] != FORMAT:
                raise Damaged(f"This manifest has format {found['format']}; this program reads {FORMAT}.")
            tables = [_table(one) for one in found.pop("tables")]
            packs = {name: (str(digest), int(size)) for name, (digest, size) in found.pop("packs").items()}
            del found["format"]
            return Manifest(tables=tables, packs=packs, **found)
        except (zstandard.ZstdError, ValueError, KeyError, TypeError, IndexError) as error:
            raise Damaged(f"A manifest cannot be read: {type(error).__name__}.") from None

    @property
    def provable(self) -> bool:
        """Whether a restore can be compared by content, and not by counts alone."""
        return all(table.sums is not None for table in self.tables)

    def used(self) -> set[str]:
        """The packs that a restore of this run reads."""
        chunks = [
            chunk
            for table in self.tables
            for one in table.ranges
            for chunk in [
                *(c for part in one.parts for c in (part.rows, part.ids)),
                *([one.live] if one.live else []),
            ]
        ]
        return {piece[0] for chunk in chunks for piece in chunk.pieces}


def _plain(manifest: Manifest) -> dict[str, Any]:
    plain = {name: getattr(manifest, name) for name in Manifest.__slots__ if name != "tables"}
    tables = [
        [
            table.schema,
            table.name,
            table.columns,
            table.shape,
            [
                [
                    one.mark,
                    [[part.rows.packed(), part.ids.packed(), part.count] for part in one.parts],
                    one.live and one.live.packed(),
                    one.total,
                ]
                for one in table.ranges
            ],
        ]
        for table in manifest.tables
    ]
    return {"format": FORMAT, **plain, "tables": tables}


def _table(found: list[Any]) -> Table:
    schema, name, columns, shape, ranges = found
    read = [
        Range(
            (int(mark[0]), int(mark[1])),
            [Part(Chunk.read(rows), Chunk.read(ids), int(count)) for rows, ids, count in parts],
            Chunk.read(live) if live else None,
            None if total is None else int(total),
        )
        for mark, parts, live, total in ranges
    ]
    return Table(schema, name, columns, shape, read)
