"""A run: each range of each table is looked at, those that changed are read, and of those only the versions that the last run could not have seen.

Why nothing is missed: a version that is visible now and was not then was made by a transaction that was not over then, so its xmin is not below
the xmin of the snapshot of that run, in whatever savepoint it was made. Versions that are shipped without need are harmless, since a
range is put together by ctid from the newest part to the oldest. What was deleted is not in the list of the living.
"""

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backups.engine import source as sources
from backups.engine.errors import Stopped
from backups.engine.manifest import Manifest, Part, Range, Table
from backups.engine.packs import Chunk, PackWriter, Store
from backups.engine.schema import schema_of
from backups.engine.sealed import KEY_BYTES, Keys, seal
from backups.engine.source import ROW, TOTAL, Found, Snapshot, Source

Connection = psycopg.Connection[Any]
BLOCKS = 1024  # of 8 KiB: one range
SEEDS = (0x5EED0001, 0x5EED0002)
LONGEST, LARGEST = 28, 0.4  # parts of a range, and the share of its rows that a delta may have, before it is read whole
BLOCK = 1 << 18  # bytes of rows that are compressed at once
TOO_OLD = 1 << 31  # transactions, beyond which ages say nothing


@dataclass
class Plan:
    """What one run works with."""

    source: Source
    store: Store
    keys: Keys
    id_key: bytes
    run: str
    previous: Manifest | None = None
    workers: int = 2
    facts: dict[str, Any] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
    told: Callable[[int, int], None] = lambda done, total: None  # ranges
    bound: Callable[[int], int] = lambda xmin: xmin  # for the tests' negative control alone
    looked: Callable[[Snapshot], None] = lambda snapshot: (
        None
    )  # while the snapshot is held, such as to sum rows for a later proof
    read: int = 0  # bytes of rows

    def step(self) -> None:
        if self.stopped():
            raise Stopped("The run was asked to stop. The last good one stays.")


def take(plan: Plan) -> "Taken":
    """Take a run up to its manifest, which `Taken.publish` makes valid. Raises BackupError, psycopg.Error, what the store raises."""
    sources.check(plan.source)
    data_key = os.urandom(KEY_BYTES)
    plan.store.create(f"keys/{plan.run}.json", plan.keys.wrap(plan.run, data_key))
    writer = PackWriter(plan.store, plan.run, data_key, plan.id_key, plan.step)
    try:
        return _taken(plan, writer, data_key)
    finally:
        writer.close()


def _taken(plan: Plan, writer: PackWriter, data_key: bytes) -> "Taken":
    with sources.snapshot(plan.source) as snapshot:
        sources.check_policies(snapshot.connection, plan.source)
        before = _comparable(plan.previous, snapshot)
        old = {table.key: table for table in before.tables} if before else {}
        wanted = [found for found in snapshot.tables if found.key not in plan.source.leave_out]
        tables = Reading(plan, snapshot, writer, old).tables(wanted)
        plan.looked(snapshot)
        schema, sequences = schema_of(snapshot.connection), sources.sequences(snapshot.connection)
    writer.finish()
    snapshot.durable()
    packs = {**(before.packs if before else {}), **writer.sent}
    manifest = Manifest(
        plan.run, before.run if before else "", snapshot.at, snapshot.cluster, snapshot.xmin, snapshot.xid, snapshot.lsn, schema, tables, sequences,
        packs, plan.facts,
    )  # fmt: skip
    used = manifest.used()
    manifest.packs = {name: found for name, found in packs.items() if name in used}
    return Taken(manifest, data_key, shipped=sum(size for _, size in writer.sent.values()), waited=snapshot.waited)


@dataclass(frozen=True, slots=True)
class Taken:
    """A run whose packs are stored, and that is none before it is published."""

    manifest: Manifest
    data_key: bytes
    shipped: int = 0  # bytes of packs
    waited: float = 0.0  # seconds for locks

    def publish(self, store: Store) -> None:
        """Make it valid: first the plain list of its packs, for whoever prunes without a key, then the manifest, last of all."""
        name = manifest_name(self.manifest.at, self.manifest.run)
        refs = "".join(f"{pack} {digest} {size}\n" for pack, (digest, size) in sorted(self.manifest.packs.items()))
        store.create(f"{name}.refs", refs.encode())
        store.create(name, seal(self.data_key, name, self.manifest.sealed_form()))


def manifest_name(at: str, run: str) -> str:
    return f"runs/{at.replace(':', '').replace('-', '')}-{run}"


def _comparable(previous: Manifest | None, snapshot: Snapshot) -> Manifest | None:
    """The previous run, if (ctid, xmin) of then can be compared with those of now."""
    if previous is None or previous.cluster != snapshot.cluster or snapshot.xid - previous.xmin >= TOO_OLD:
        return None
    went_back = snapshot.connection.execute("SELECT %s::pg_lsn < %s::pg_lsn", [snapshot.lsn, previous.lsn]).fetchone()
    return None if went_back and went_back[0] else previous


@dataclass
class Reading:
    """One snapshot being read, range by range, on several connections."""

    plan: Plan
    snapshot: Snapshot
    writer: PackWriter | None  # None to look only
    old: dict[str, Table]
    results: dict[tuple[str, int], Range] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: int = 0
    _failed: bool = False

    def tables(self, wanted: list[Found]) -> list[Table]:
        """All tables with their ranges in order. Raises what a reader raised first."""
        sizes = {found.key: _blocks(self.snapshot.connection, found) if found.heap else 1 for found in wanted}
        ranges = {found.key: -(-sizes[found.key] // BLOCKS) for found in wanted}
        work = iter([(found, number) for found in wanted for number in range(ranges[found.key])])
        total = sum(ranges.values())
        with ThreadPoolExecutor(self.plan.workers) as pool:
            for future in [pool.submit(self._work, work, total) for _ in range(self.plan.workers)]:
                future.result()
        return [
            Table(found.schema, found.name, list(found.columns), found.shape, [self.results[found.key, number] for number in range(ranges[found.key])])
            for found in wanted
        ]  # fmt: skip

    def _work(self, work: Iterator[tuple[Found, int]], total: int) -> None:
        try:
            self._read(work, total)
        except BaseException:
            self._failed = True  # the others need not go on
            raise

    def _read(self, work: Iterator[tuple[Found, int]], total: int) -> None:
        with self.snapshot.reader() as connection:
            while not self._failed:
                with self._lock:
                    item = next(work, None)
                if item is None:
                    return
                self.plan.step()
                found, number = item
                table = self.old.get(found.key)
                same = table is not None and table.shape == found.shape and found.heap and number < len(table.ranges)
                self.results[found.key, number] = self._range(
                    connection, found, number, table.ranges[number] if table and same else None
                )
                with self._lock:
                    self._done += 1
                    self.plan.told(self._done, total)

    def mark(self, connection: Connection, found: Found, number: int) -> tuple[int, int, int]:
        return _mark(connection, found, _within(found, number))

    def rows(self, connection: Connection, found: Found, number: int) -> Iterator[bytes]:
        """All rows of a range, as they would be stored."""
        return self._rows(connection, found, _within(found, number))

    def _put(self, blocks: Iterable[bytes]) -> Chunk:
        assert self.writer is not None
        return self.writer.put(blocks)

    def _range(self, connection: Connection, found: Found, number: int, known: Range | None) -> Range:
        within = _within(found, number)
        mark = _mark(connection, found, within)
        if known and known.mark == mark:
            return known
        newer = self._newer(connection, found, within, known, most=LARGEST * max(1, mark[0])) if known else None
        if not mark[0]:
            return Range(mark, [])
        if known is None or newer is None:
            part, total = self._part(connection, found, within)
            return Range(mark, [part], None, total)
        ids, total = _ids(connection, found, within)
        part, _ = self._part(connection, found, newer)
        return Range(mark, [*known.parts, part], self._put([ids]), total)

    def _newer(
        self, connection: Connection, found: Found, within: sql.Composable, known: Range, *, most: float
    ) -> sql.Composable | None:
        """The condition for versions that the last run could not have seen; None where the whole range is the better deal."""
        assert self.plan.previous is not None
        if len(known.parts) >= LONGEST:
            return None
        xmin = sql.Literal(str(self.plan.bound(self.plan.previous.xmin) % (1 << 32)))
        newer = sql.SQL("{} AND age(xmin) <= age({}::xid)").format(within, xmin)
        row = connection.execute(sql.SQL("SELECT count(*) FROM ONLY {} WHERE {}").format(found.ref, newer)).fetchone()
        return newer if row and row[0] <= most else None

    def _part(self, connection: Connection, found: Found, condition: sql.Composable) -> tuple[Part, int]:
        """Rows and their ctids: two statements of one snapshot, which read in the same order. And the sum of their hashes."""
        ids, total = _ids(connection, found, condition)
        return Part(self._put(self._rows(connection, found, condition)), self._put([ids]), len(ids) // 6), total

    def _rows(self, connection: Connection, found: Found, condition: sql.Composable) -> Iterator[bytes]:
        columns = sql.SQL(", ").join(map(sql.Identifier, found.columns))
        statement = sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT").format(columns, found.ref, condition)
        blocks: list[bytes] = []
        waiting = 0
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for block in copy:
                blocks.append(bytes(block))
                waiting += len(block)
                if waiting > BLOCK:
                    self.plan.step()
                    self.plan.read += waiting
                    yield b"".join(blocks)
                    blocks, waiting = [], 0
        self.plan.read += waiting
        yield b"".join(blocks)


def _blocks(connection: Connection, found: Found) -> int:
    statement = "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int"
    row = connection.execute(statement, [found.oid]).fetchone()
    return int(row[0]) if row else 0


def _within(found: Found, number: int) -> sql.Composable:
    if not found.heap:
        return sql.SQL("true")
    first, last = sql.Literal(f"({number * BLOCKS},0)"), sql.Literal(f"({(number + 1) * BLOCKS},0)")
    return sql.SQL("ctid >= {}::tid AND ctid < {}::tid").format(first, last)


def _mark(connection: Connection, found: Found, within: sql.Composable) -> tuple[int, int, int]:
    """Two hashes over which versions there are, not what they say: a version never changes."""
    one = "coalesce(bit_xor(hash_record_extended(ROW(ctid, xmin), {})), 0)"
    hashes = sql.SQL(", ").join([sql.SQL(one).format(sql.Literal(seed)) for seed in SEEDS])
    row = connection.execute(
        sql.SQL("SELECT count(*), {} FROM ONLY {} WHERE {}").format(hashes, found.ref, within)
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1]), int(row[2])


def _ids(connection: Connection, found: Found, condition: sql.Composable) -> tuple[bytes, int]:
    """The ctids of these rows, 6 bytes each, and the sum of the hashes of their text."""
    statement = sql.SQL("SELECT string_agg(tidsend(ctid), ''::bytea), {} FROM ONLY {} AS {} WHERE {}").format(
        TOTAL, found.ref, ROW, condition
    )
    row = connection.execute(statement, binary=True).fetchone()
    return (bytes(row[0]), int(row[1])) if row and row[0] else (b"", 0)
