"""A run: each range of each table is looked at, those that changed are read, and of those only the versions
that the last run could not have seen.

Why nothing is missed: a version that is visible now and was not then was made by a transaction that was not
over then, so its xmin is not below the xmin of the snapshot of that run, in whatever savepoint it was made.
Versions that are shipped without need are harmless, since a range is put together by ctid from the newest
part to the oldest. What was deleted is not in the list of the living.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from select import select
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from backups.engine import source as sources
from backups.engine.encryption import KEY_BYTES, Keys, seal
from backups.engine.errors import Stopped
from backups.engine.manifest import ID, Manifest, Part, Range, Table, shuffled
from backups.engine.packs import Chunk, PackWriter, Store
from backups.engine.schema import schema_of
from backups.engine.source import ROW, TOTAL, Snapshot, Source, TableInfo

Connection = psycopg.Connection[Any]
BLOCKS = 1024  # of 8 KiB: one range
# parts of a range, and the share of its rows that a delta may have, before it is read whole
LONGEST = 28
LARGEST = 0.4
BLOCK = 1 << 18  # bytes of rows that are compressed at once
# Seconds that a run takes its time, before it is quick: a snapshot that is held keeps dead rows from being
# cleaned away.
PATIENCE = 900
REST = 0.25  # seconds of sleep before it looks whether to stop
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
    # The share of its time that it works for the first `PATIENCE` seconds, with one reader; the rest it
    # sleeps, for others to be served.
    pace: float = 1.0
    # Whether the content of what changed is summed, so that this run can be proven; it takes as long as
    # reading it.
    sums: bool = True
    facts: dict[str, Any] = field(default_factory=dict)
    stopped: Callable[[], bool] = lambda: False
    told: Callable[[int, int], None] = lambda done, total: None  # ranges
    bound: Callable[[int], int] = lambda xmin: xmin  # for the tests' negative control alone
    looked: Callable[[Snapshot], None] = lambda snapshot: None  # for tests: while the snapshot is held
    read: int = 0  # bytes of rows
    began: float = field(default_factory=time.monotonic)
    rested: float = 0.0  # when it did last

    def step(self) -> None:
        if self.stopped():
            raise Stopped("The run was asked to stop. The last good one stays.")

    @property
    def patient(self) -> bool:
        return self.pace < 1 and time.monotonic() - self.began < PATIENCE

    def rest(self) -> None:
        """A step before more work: sleeps as `pace` says, for the work since the last one.

        Waiting for locks before the first was none.
        """
        self.step()
        left = (time.monotonic() - self.rested) * (1 / self.pace - 1) if self.patient and self.rested else 0
        while left > 0:
            time.sleep(min(REST, left))
            left -= REST
            self.step()
        self.rested = time.monotonic()


def take(plan: Plan) -> "Taken":
    """Take a run up to its manifest, which `Taken.publish` makes valid.

    Raises BackupError, psycopg.Error, what the store raises.
    """
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
        schema = schema_of(snapshot.connection)
        sequences = sources.sequences(snapshot.connection)
    writer.finish()
    snapshot.durable()
    packs = {**(before.packs if before else {}), **writer.sent}
    manifest = Manifest(
        plan.run,
        before.run if before else "",
        snapshot.at,
        snapshot.cluster,
        snapshot.xmin,
        snapshot.xid,
        snapshot.lsn,
        schema,
        tables,
        sequences,
        packs,
        plan.facts,
    )
    used = manifest.used()
    manifest.packs = {name: found for name, found in packs.items() if name in used}
    return Taken(
        manifest, data_key, shipped=sum(size for _, size in writer.sent.values()), waited=snapshot.waited
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """A run whose packs are stored, and that is none before it is published."""

    manifest: Manifest
    data_key: bytes
    shipped: int = 0  # bytes of packs
    waited: float = 0.0  # seconds for locks

    def publish(self, store: Store) -> None:
        """Make it valid: first the plain list of its packs, for whoever prunes without a key, then the
        manifest, last of all.
        """
        name = manifest_name(self.manifest.at, self.manifest.run)
        refs = "".join(
            f"{pack} {digest} {size}\n" for pack, (digest, size) in sorted(self.manifest.packs.items())
        )
        store.create(f"{name}.refs", refs.encode())
        store.create(name, seal(self.data_key, name, self.manifest.sealed_form()))


def manifest_name(at: str, run: str) -> str:
    return f"runs/{at.replace(':', '').replace('-', '')}-{run}"


def _comparable(previous: Manifest | None, snapshot: Snapshot) -> Manifest | None:
    """The previous run, if (ctid, xmin) of then can be compared with those of now."""
    if previous is None or previous.cluster != snapshot.cluster or snapshot.xid - previous.xmin >= TOO_OLD:
        return None
    went_back = snapshot.connection.execute(
        "SELECT %s::pg_lsn < %s::pg_lsn", [snapshot.lsn, previous.lsn]
    ).fetchone()
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
    _over: threading.Event = field(
        default_factory=threading.Event
    )  # all ranges are given out, or a reader failed

    def tables(self, wanted: list[TableInfo]) -> list[Table]:
        """All tables with their ranges in order. Raises what a reader raised first."""
        sizes = {found.key: _blocks(self.snapshot.connection, found) if found.heap else 1 for found in wanted}
        ranges = {found.key: -(-sizes[found.key] // BLOCKS) for found in wanted}
        work = iter([(found, number) for found in wanted for number in range(ranges[found.key])])
        total = sum(ranges.values())
        with ThreadPoolExecutor(self.plan.workers) as pool:
            for future in [pool.submit(self._work, work, total, place) for place in range(self.plan.workers)]:
                future.result()
        return [
            Table(
                found.schema,
                found.name,
                list(found.columns),
                found.shape,
                [self.results[found.key, number] for number in range(ranges[found.key])],
            )
            for found in wanted
        ]

    def _work(self, work: Iterator[tuple[TableInfo, int]], total: int, place: int) -> None:
        try:
            while place and self.plan.patient and not self._over.wait(REST):
                pass
            self._read(work, total)
        except psycopg.errors.LockNotAvailable:  # somebody waits for a table, and we stand before them
            self._over.set()
            raise Stopped("A change of the tables had to go first. The last good run stays.") from None
        except BaseException:
            self._over.set()  # the others need not go on
            raise

    def _read(self, work: Iterator[tuple[TableInfo, int]], total: int) -> None:
        if self._over.is_set():
            return
        with self.snapshot.reader() as connection:
            while not self._over.is_set():
                with self._lock:
                    item = next(work, None)
                if item is None:
                    self._over.set()
                    return
                self.plan.rest()
                found, number = item
                table = self.old.get(found.key)
                same = (
                    table is not None
                    and table.shape == found.shape
                    and found.heap
                    and number < len(table.ranges)
                )
                self.results[found.key, number] = self._range(
                    connection, found, number, table.ranges[number] if table and same else None
                )
                with self._lock:
                    self._done += 1
                    self.plan.told(self._done, total)

    def mark(self, connection: Connection, found: TableInfo, number: int) -> tuple[int, int]:
        return _mark(connection, found, _within(found, number))

    def rows(self, connection: Connection, found: TableInfo, number: int) -> Iterator[bytes]:
        """All rows of a range, as they would be stored."""
        return self._rows(connection, found, _within(found, number))

    def _put(self, blocks: Iterable[bytes]) -> Chunk:
        assert self.writer is not None
        return self.writer.put(blocks)

    def _range(self, connection: Connection, found: TableInfo, number: int, known: Range | None) -> Range:
        within = _within(found, number)
        sums = self.plan.sums
        if known is None:
            mark, ids, total = _look(connection, found, within, sums=sums)
        else:
            mark = _mark(connection, found, within)
            if known.mark == mark:
                if known.total is None and sums:
                    known.total = _total(connection, found, within)
                return known
            newer = self._newer()
            ids, shipped, total = _look_again(connection, found, within, newer, sums=sums)
            if mark[0] and len(known.parts) < LONGEST and len(shipped) <= LARGEST * ID * known.mark[0]:
                part = self._part(connection, found, sql.SQL("{} AND {}").format(within, newer), shipped)
                return Range(mark, [*known.parts, part], self._put([shuffled(ids)]), total)
        return Range(mark, [self._part(connection, found, within, ids)] if mark[0] else [], None, total)

    def _newer(self) -> sql.Composable:
        """The condition for versions that the last run could not have seen."""
        assert self.plan.previous is not None
        xmin = sql.Literal(str(self.plan.bound(self.plan.previous.xmin) % (1 << 32)))
        return sql.SQL("age(xmin) <= (SELECT age({}::xid))").format(xmin)

    def _part(self, connection: Connection, found: TableInfo, condition: sql.Composable, ids: bytes) -> Part:
        """Rows and their ctids: two statements of one snapshot, which read in the same order."""
        return Part(
            self._put(self._rows(connection, found, condition)), self._put([shuffled(ids)]), len(ids) // ID
        )

    def _rows(self, connection: Connection, found: TableInfo, condition: sql.Composable) -> Iterator[bytes]:
        columns = sql.SQL(", ").join(map(sql.Identifier, found.columns))
        statement = sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT").format(
            columns, found.ref, condition
        )
        for block in copied(connection, statement):
            self.plan.rest()
            self.plan.read += len(block)
            yield block


def copied(connection: Connection, statement: sql.Composed) -> Iterator[bytes]:
    """What COPY gives, in blocks of about BLOCK bytes of whole rows.

    A row is a message, and most rows are short: the loop speaks with libpq itself, which costs a fifth of
    what psycopg's own does.
    """
    rows: list[memoryview] = []
    size = 0
    with connection.cursor() as cursor, cursor.copy(statement):
        server = connection.pgconn
        socket = connection.fileno()
        get = server.get_copy_data
        while (found := get(1))[0] >= 0:
            if found[0]:
                rows.append(found[1])
                size += found[0]
                if size > BLOCK:
                    yield b"".join(rows)
                    rows = []
                    size = 0
            else:
                select([socket], [], [], 60)
                server.consume_input()
        while result := server.get_result():
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
    yield b"".join(rows)


def _blocks(connection: Connection, found: TableInfo) -> int:
    statement = "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int"
    row = connection.execute(statement, [found.oid]).fetchone()
    return int(row[0]) if row else 0


def _within(found: TableInfo, number: int) -> sql.Composable:
    if not found.heap:
        return sql.SQL("true")
    first = sql.Literal(f"({number * BLOCKS},0)")
    last = sql.Literal(f"({(number + 1) * BLOCKS},0)")
    return sql.SQL("ctid >= {}::tid AND ctid < {}::tid").format(first, last)


# Over which versions there are, not what they say: a version never changes. xmin has no number of its own,
# but what it is away from another has; asked for this way it takes half the time of a hash over both. (Once
# in two billion transactions all marks move, and every list of ctids is stored again.)
XMIN = "(SELECT age('3'::xid)::bigint + 3) - age(xmin)"
MARK = sql.SQL(f"count(*), coalesce(bit_xor(hashtidextended(ctid, {XMIN})), 0)")
IDS = sql.SQL("string_agg(tidsend(ctid), ''::bytea)")


def _ask(connection: Connection, statement: str, **parts: sql.Composable) -> tuple[Any, ...]:
    row = connection.execute(sql.SQL(statement).format(**parts), binary=True).fetchone()
    assert row is not None
    return tuple(row)


def _mark(connection: Connection, found: TableInfo, within: sql.Composable) -> tuple[int, int]:
    count, hashed = _ask(
        connection,
        "SELECT {mark} FROM ONLY {table} WHERE {within}",
        mark=MARK,
        table=found.ref,
        within=within,
    )
    return int(count), int(hashed)


def _total(connection: Connection, found: TableInfo, within: sql.Composable) -> int:
    """The sum of the hashes of what the rows say."""
    (total,) = _ask(
        connection,
        "SELECT {total} FROM ONLY {table} AS {row} WHERE {within}",
        total=TOTAL,
        table=found.ref,
        row=ROW,
        within=within,
    )
    return int(total)


def _look(
    connection: Connection, found: TableInfo, within: sql.Composable, *, sums: bool
) -> tuple[tuple[int, int], bytes, int | None]:
    """Mark, ctids (ID bytes each), and where it is wanted the sum of the hashes of what the rows say, in one
    pass.
    """
    count, hashed, ids, total = _ask(
        connection,
        "SELECT {mark}, {ids}, {total} FROM ONLY {table} AS {row} WHERE {within}",
        mark=MARK,
        ids=IDS,
        total=TOTAL if sums else sql.NULL,
        table=found.ref,
        row=ROW,
        within=within,
    )
    return (int(count), int(hashed)), bytes(ids or b""), int(total) if sums else None


def _look_again(
    connection: Connection, found: TableInfo, within: sql.Composable, newer: sql.Composable, *, sums: bool
) -> tuple[bytes, bytes, int | None]:
    """Ctids of all, of those that are newer, and the sum as above, in one pass."""
    ids, shipped, total = _ask(
        connection,
        "SELECT {ids}, {ids} FILTER (WHERE {newer}), {total} FROM ONLY {table} AS {row} WHERE {within}",
        ids=IDS,
        newer=newer,
        total=TOTAL if sums else sql.NULL,
        table=found.ref,
        row=ROW,
        within=within,
    )
    return bytes(ids or b""), bytes(shipped or b""), int(total) if sums else None
