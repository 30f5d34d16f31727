"""Taking a backup: every range of every table is compared with the previous run, and what changed is stored.

An increment stores only the row versions that the previous run cannot have seen. This is complete, because a
version that is visible now and was not visible then was written by a transaction that had not ended then.
Its xmin is therefore not below the xmin of the previous snapshot, even if a savepoint wrote it. Storing a
version twice is harmless, because a restore assembles a range by ctid from the newest part to the oldest.
Deleted rows are missing from the list of live ctids.
"""

import hashlib
import hmac
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from backups.engine import range_queries
from backups.engine import source as sources
from backups.engine.encryption import KEY_BYTES, encrypt_blob
from backups.engine.errors import Stopped
from backups.engine.manifest import (
    CTID_BYTES,
    BlockRange,
    Manifest,
    Part,
    Schema,
    Table,
    shuffle_ctids,
)
from backups.engine.packs import Chunk, PackWriter, Store
from backups.engine.plan import SLEEP_STEP_SECONDS, BackupPlan
from backups.engine.range_queries import BLOCKS_PER_RANGE, Connection
from backups.engine.schema import catalogue, coverage
from backups.engine.schema.archive import content_without_time
from backups.engine.schema.postgres_programs import dump_schema, program_version
from backups.engine.source import Snapshot, TableInfo
from backups.engine.table_names import TableName

# A range is stored in full again when it has this many parts, or when a delta would hold more than this share
# of its rows.
MAX_PARTS_PER_RANGE = 28
MAX_DELTA_SHARE = 0.4
MAX_XID_AGE = 1 << 31  # transaction ids further apart than this cannot be compared


@dataclass(frozen=True, slots=True)
class StagedBackup:
    """A backup whose packs are uploaded. It becomes restorable when `publish()` writes its manifest."""

    manifest: Manifest
    data_key: bytes
    shipped_bytes: int = 0  # size of the uploaded packs
    lock_wait_seconds: float = 0.0

    def publish(self, store: Store) -> None:
        """Write the list of packs in plain text, then the manifest, which makes the run valid.

        The plain list lets a server without a decryption key prune. Raises what the store raises.
        """
        name = manifest_name(self.manifest.taken_at, self.manifest.run_id)
        pack_list = "".join(
            f"{pack} {digest} {size}\n" for pack, (digest, size) in sorted(self.manifest.packs.items())
        )
        store.create(f"{name}.refs", pack_list.encode())
        store.create(name, encrypt_blob(self.data_key, name, self.manifest.to_bytes()))


def manifest_name(taken_at: str, run_id: str) -> str:
    """Return the key of a run's manifest in the store. Names sort by the time of the snapshot."""
    return f"runs/{taken_at.replace(':', '').replace('-', '')}-{run_id}"


def take_backup(plan: BackupPlan) -> StagedBackup:
    """Read the database and upload the packs of a run, but do not publish its manifest.

    Raises BackupError, psycopg.Error and what the store raises.
    """
    with plan.source.connect() as connection:
        coverage.ensure_role_may_read(connection)  # locking a table needs the right to read it
    data_key = os.urandom(KEY_BYTES)
    writer = PackWriter(
        plan.store, plan.run_id, data_key, plan.id_key, plan.raise_if_stopped, plan.compression
    )
    try:
        return _take_backup(plan, writer, data_key)
    finally:
        writer.close()


def _take_backup(plan: BackupPlan, writer: PackWriter, data_key: bytes) -> StagedBackup:
    with sources.open_snapshot(plan.source) as snapshot, ThreadPoolExecutor(1) as pool:
        program = plan.programs.find_program("pg_dump", minimum_version=snapshot.server_version)
        sources.ensure_no_rows_are_hidden(snapshot.connection, plan.source)
        coverage.ensure_everything_can_be_stored(snapshot.connection)
        plan.store.create(f"keys/{plan.run_id}.json", plan.keys.wrap(plan.run_id, data_key))
        dump = pool.submit(
            dump_schema,
            program,
            plan.source.dsn,
            snapshot=snapshot.name,
            raise_if_stopped=plan.raise_if_stopped,
        )
        parent = _select_parent(plan.previous, snapshot)
        parent_tables = {table.name: table for table in parent.tables} if parent else {}
        reader = RangeReader(plan, snapshot, writer, parent_tables)
        dump.add_done_callback(lambda finished: reader.stop() if finished.exception() else None)
        try:
            tables = reader.read_tables(
                [table for table in snapshot.tables if table.name not in plan.source.excluded_tables]
            )
        finally:
            dumped_schema = dump.result()  # when pg_dump failed, its error is the reason
        plan.on_tables_read(snapshot)
        archive, digest = _store_archive(dumped_schema, plan, writer, parent)
        schema = _describe_schema(snapshot, plan, archive, digest, version=program_version(program))
        sequences = sources.read_sequences(snapshot.connection)
    writer.finish()
    snapshot.wait_until_durable()
    manifest = Manifest(
        run_id=plan.run_id,
        parent=parent.run_id if parent else "",
        taken_at=snapshot.taken_at,
        cluster=snapshot.cluster,
        xmin=snapshot.xmin,
        xid=snapshot.xid,
        lsn=snapshot.lsn,
        schema=schema,
        tables=tables,
        sequences=sequences,
        packs={},
        metadata=plan.metadata,
    )
    packs = {**(parent.packs if parent else {}), **writer.packs}
    used = manifest.used_packs()
    manifest.packs = {name: pack for name, pack in packs.items() if name in used}
    return StagedBackup(
        manifest,
        data_key,
        shipped_bytes=sum(size for _, size in writer.packs.values()),
        lock_wait_seconds=snapshot.lock_wait_seconds,
    )


def _describe_schema(
    snapshot: Snapshot, plan: BackupPlan, archive: Chunk, digest: str, *, version: int
) -> Schema:
    """Return the schema of the snapshot. `version` is the major version of the program that dumped it."""
    return Schema(
        archive,
        digest,
        version,
        snapshot.search_path,
        catalogue.describe_for_restore(snapshot.connection),
        coverage.list_warnings(snapshot.connection, expected_names=plan.source.unlogged_tables),
    )


def _store_archive(
    content: bytes, plan: BackupPlan, writer: PackWriter, parent: Manifest | None
) -> tuple[Chunk, str]:
    """Return the chunk of the schema and its digest. An unchanged schema is not stored again."""
    digest = hmac.new(plan.id_key, content_without_time(content), hashlib.sha256).hexdigest()
    if parent and parent.schema.digest == digest:
        return parent.schema.archive, digest
    return writer.write_chunk([content]), digest


def _select_parent(previous: Manifest | None, snapshot: Snapshot) -> Manifest | None:
    """Return the previous run if its (ctid, xmin) pairs can be compared with those of this snapshot."""
    if (
        previous is None
        or previous.cluster != snapshot.cluster
        or snapshot.xid - previous.xmin >= MAX_XID_AGE
    ):
        return None
    lsn_went_back = snapshot.connection.execute(
        "SELECT %s::pg_lsn < %s::pg_lsn", [snapshot.lsn, previous.lsn]
    ).fetchone()
    return None if lsn_went_back and lsn_went_back[0] else previous


def is_comparable(table: TableInfo, stored: Table) -> bool:
    """Whether equal row versions of a table have the text that a run stored."""
    return table.heap and (table.oid, table.shape) == (stored.oid, stored.shape)


@dataclass
class RangeReader:
    """Reads the ranges of one snapshot on several connections."""

    plan: BackupPlan
    snapshot: Snapshot
    writer: PackWriter | None  # None when ranges are only compared, not stored
    parent_tables: dict[TableName, Table]
    results: dict[tuple[TableName, int], BlockRange] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done: int = 0
    # Set when all ranges were handed out or a reader failed, so that the other readers end.
    _finished: threading.Event = field(default_factory=threading.Event)

    def read_tables(self, tables: list[TableInfo]) -> list[Table]:
        """Return all tables with their ranges in order. Raises the first error of any reader, and Stopped."""
        range_counts = {table.name: self._count_ranges(table) for table in tables}
        queue = iter([(table, number) for table in tables for number in range(range_counts[table.name])])
        total = sum(range_counts.values())
        with ThreadPoolExecutor(self.plan.workers) as pool:
            for future in [
                pool.submit(self._run_reader, queue, total, index) for index in range(self.plan.workers)
            ]:
                future.result()
        if self._done < total:
            raise Stopped("The run was ended before all rows were read.")
        return [
            Table(
                table.oid,
                table.name,
                list(table.columns),
                table.shape,
                table.load_into,
                [self.results[table.name, number] for number in range(range_counts[table.name])],
            )
            for table in tables
        ]

    def stop(self) -> None:
        """Let the readers end after their present range. `read_tables` then raises Stopped."""
        self._finished.set()

    def _count_ranges(self, table: TableInfo) -> int:
        blocks = range_queries.count_blocks(self.snapshot.connection, table) if table.heap else 1
        return -(-blocks // BLOCKS_PER_RANGE)

    def _run_reader(self, queue: Iterator[tuple[TableInfo, int]], total: int, index: int) -> None:
        try:
            # A throttled run uses one reader; the others start when the throttling ends.
            while index and self.plan.is_throttled and not self._finished.wait(SLEEP_STEP_SECONDS):
                pass
            self._read_ranges(queue, total)
        except psycopg.errors.LockNotAvailable:
            # Another session waits for an exclusive lock on a table, and this reader would queue behind it.
            self._finished.set()
            raise Stopped(
                "A change of the tables needed the lock first. The last good backup is unchanged."
            ) from None
        except BaseException:
            self._finished.set()
            raise

    def _read_ranges(self, queue: Iterator[tuple[TableInfo, int]], total: int) -> None:
        if self._finished.is_set():
            return
        with self.snapshot.open_reader() as connection:
            while not self._finished.is_set():
                with self._lock:
                    item = next(queue, None)
                if item is None:
                    self._finished.set()
                    return
                self.plan.throttle()
                table, number = item
                parent_range = self._find_parent_range(table, number)
                self.results[table.name, number] = self._read_range(connection, table, number, parent_range)
                with self._lock:
                    self._done += 1
                    self.plan.on_progress(self._done, total)

    def _find_parent_range(self, table: TableInfo, number: int) -> BlockRange | None:
        """Return the range as the parent stored it, or None when its row versions cannot be compared."""
        stored = self.parent_tables.get(table.name)
        if stored is None or not is_comparable(table, stored) or number >= len(stored.ranges):
            return None
        return stored.ranges[number]

    def fetch_fingerprint(self, connection: Connection, table: TableInfo, number: int) -> tuple[int, int]:
        """Return the row count and the version hash of a range."""
        condition = range_queries.range_condition(table, number)
        return range_queries.fetch_fingerprint(connection, table, condition)

    def copy_range(self, connection: Connection, table: TableInfo, number: int) -> Iterator[bytes]:
        """Yield all rows of a range as COPY text, in the same form in which they are stored."""
        return self._copy_rows(connection, table, range_queries.range_condition(table, number))

    def _read_range(
        self, connection: Connection, table: TableInfo, number: int, parent_range: BlockRange | None
    ) -> BlockRange:
        condition = range_queries.range_condition(table, number)
        if parent_range is not None:
            return self._read_increment(connection, table, condition, parent_range)
        fingerprint, ctids, hash_sum = range_queries.fetch_range_state(
            connection, table, condition, hash_rows=self.plan.hash_rows
        )
        return self._store_full_range(
            connection, table, condition, fingerprint=fingerprint, ctids=ctids, hash_sum=hash_sum
        )

    def _read_increment(
        self, connection: Connection, table: TableInfo, condition: sql.Composable, parent_range: BlockRange
    ) -> BlockRange:
        """Store what changed in a range: a delta, or the full range when a delta would be too large."""
        fingerprint = range_queries.fetch_fingerprint(connection, table, condition)
        if parent_range.fingerprint == fingerprint:
            if parent_range.hash_sum is None and self.plan.hash_rows:
                parent_range.hash_sum = range_queries.fetch_hash_sum(connection, table, condition)
            return parent_range
        is_new = self._is_new_condition()
        ctids, new_ctids, hash_sum = range_queries.fetch_changed_ctids(
            connection, table, condition, is_new, hash_rows=self.plan.hash_rows
        )
        max_delta_bytes = MAX_DELTA_SHARE * CTID_BYTES * parent_range.row_count
        chain_may_grow = len(parent_range.parts) < MAX_PARTS_PER_RANGE
        if fingerprint[0] and chain_may_grow and len(new_ctids) <= max_delta_bytes:
            delta_condition = sql.SQL("{} AND {}").format(condition, is_new)
            delta = self._store_part(connection, table, delta_condition, new_ctids)
            live_ctids = self._write_chunk([shuffle_ctids(ctids)])
            return BlockRange(fingerprint, [*parent_range.parts, delta], live_ctids, hash_sum)
        return self._store_full_range(
            connection, table, condition, fingerprint=fingerprint, ctids=ctids, hash_sum=hash_sum
        )

    def _is_new_condition(self) -> sql.Composable:
        """Return the condition for row versions that the previous run cannot have seen."""
        assert self.plan.previous is not None
        xmin = sql.Literal(str(self.plan.adjust_xmin(self.plan.previous.xmin) % (1 << 32)))
        return sql.SQL("age(xmin) <= (SELECT age({}::xid))").format(xmin)

    def _store_full_range(
        self,
        connection: Connection,
        table: TableInfo,
        condition: sql.Composable,
        *,
        fingerprint: tuple[int, int],
        ctids: bytes,
        hash_sum: int | None,
    ) -> BlockRange:
        row_count, _ = fingerprint
        parts = [self._store_part(connection, table, condition, ctids)] if row_count else []
        return BlockRange(fingerprint, parts, None, hash_sum)

    def _store_part(
        self, connection: Connection, table: TableInfo, condition: sql.Composable, ctids: bytes
    ) -> Part:
        """Store rows and their ctids.

        They come from two statements of the same snapshot, which read the rows in the same order.
        """
        rows = self._write_chunk(self._copy_rows(connection, table, condition))
        return Part(rows, self._write_chunk([shuffle_ctids(ctids)]), len(ctids) // CTID_BYTES)

    def _write_chunk(self, blocks: Iterable[bytes]) -> Chunk:
        assert self.writer is not None
        return self.writer.write_chunk(blocks)

    def _copy_rows(
        self, connection: Connection, table: TableInfo, condition: sql.Composable
    ) -> Iterator[bytes]:
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        statement = sql.SQL("COPY (SELECT {} FROM ONLY {} WHERE {}) TO STDOUT").format(
            columns, table.ref, condition
        )
        for block in range_queries.copy_blocks(connection, statement):
            self.plan.throttle()
            self.plan.read_bytes += len(block)
            yield block
