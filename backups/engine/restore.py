"""A run back into an empty database. Until the last statement the target says of itself that it is not whole."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import Damaged, Refused
from backups.engine.manifest import Manifest, Part, Range, Table
from backups.engine.packs import PackReader, Store
from backups.engine.sealed import Keys, unseal
from backups.engine.source import OURS, PINNED

MARKER = "backup_restore"  # a table: `whole` is false until everything is there
ID = 6  # bytes of a ctid


@dataclass
class Repository:
    """Runs in a store, opened with the keys that are here."""

    store: Store
    keys: Keys
    _data_keys: dict[str, bytes] = field(default_factory=dict)

    def runs(self) -> list[str]:
        """Names of published runs, oldest first."""
        return [key for key in self.store.keys("runs/") if not key.endswith(".refs")]

    def data_key(self, run: str) -> bytes:
        """Raises KeyMissing, Damaged."""
        if run not in self._data_keys:
            stored = self.store.read(f"keys/{run}.json")
            if stored is None:
                raise Damaged(f"The key file of run {run} is missing.")
            self._data_keys[run] = self.keys.open(run, stored)
        return self._data_keys[run]

    def manifest(self, name: str) -> Manifest:
        """Raises Damaged, KeyMissing."""
        blob = self.store.read(name)
        if blob is None:
            raise Damaged(f"{name} is missing.")
        return Manifest.read(unseal(self.data_key(name.rpartition("-")[2]), name, blob))

    def reader(self, manifest: Manifest) -> PackReader:
        return PackReader(self.store, self.data_key, {name: digest for name, (digest, _) in manifest.packs.items()})


def restore(
    repository: Repository, manifest: Manifest, dsn: str, *, workers: int = 2, told: Callable[[int, int], None] = lambda done, total: None
) -> None:  # fmt: skip
    """Make an empty database what the run saw. Raises Refused, Damaged, KeyMissing, psycopg.Error; then the target is marked as not whole."""
    reader = repository.reader(manifest)
    with _connect(dsn) as connection:
        _begin(connection, manifest)
        settle(connection, _flat(manifest.schema["before"]))
        _fill(manifest, reader, dsn, workers=workers, told=told)
        _sequences(connection, manifest)
        settle(connection, _flat(manifest.schema["after"]))
        connection.execute("ANALYZE")
        _check(connection, manifest)
        connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier("public", MARKER)))


def _connect(dsn: str) -> psycopg.Connection[Any]:
    connection = psycopg.connect(dsn, autocommit=True)
    for name, value in {
        **PINNED,
        "lock_timeout": "0",
        "check_function_bodies": "off",
        "application_name": "restore",
    }.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    return connection


def _begin(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    if connection.info.server_version // 10000 < manifest.cluster["version"] // 10000:
        raise Refused("The target's PostgreSQL is older than the one that was backed up.")
    there = connection.execute(
        f"SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'S') ORDER BY 1 LIMIT 5"
    ).fetchall()
    if there:
        raise Refused(
            f"The target is not empty: it has {', '.join(row[0] for row in there)}. Restore into a database of its own."
        )
    connection.execute("CREATE SCHEMA IF NOT EXISTS public")
    connection.execute(
        sql.SQL("CREATE TABLE {} (run text, whole boolean NOT NULL DEFAULT false)").format(
            sql.Identifier("public", MARKER)
        )
    )
    connection.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier("public", MARKER)), [manifest.run])


def _flat(kinds: dict[str, list[str]]) -> list[str]:
    return [statement for statements in kinds.values() for statement in statements]


def settle(connection: psycopg.Connection[Any], statements: Iterable[str]) -> None:
    """Run all, each as soon as what it needs is there. Raises the error of the first that never works."""
    waiting = deque(statements)
    since, fault = 0, None
    while waiting:
        statement = waiting.popleft()
        try:
            connection.execute(statement.encode())
            since = 0
        except (
            psycopg.errors.UndefinedObject,
            psycopg.errors.UndefinedTable,
            psycopg.errors.UndefinedFunction,
            psycopg.errors.InvalidTableDefinition,
            psycopg.errors.WrongObjectType,
            psycopg.errors.InvalidForeignKey,
        ) as error:
            fault = fault or error
            waiting.append(statement)
            since += 1
            if since > len(waiting):
                raise fault from None
        else:
            fault = None


def _fill(manifest: Manifest, reader: PackReader, dsn: str, *, workers: int, told: Callable[[int, int], None]) -> None:
    work = iter([(table, one) for table in manifest.tables for one in table.ranges if one.mark[0]])
    total, done, lock = sum(table.rows for table in manifest.tables), 0, threading.Lock()

    def run() -> None:
        nonlocal done
        with _connect(dsn) as connection:
            while True:
                with lock:
                    item = next(work, None)
                if item is None:
                    return
                table, one = item
                load(connection, table, rows_of(reader, table, one))
                with lock:
                    done += one.mark[0]
                    told(done, total)

    with ThreadPoolExecutor(workers) as pool:
        for future in [pool.submit(run) for _ in range(workers)]:
            future.result()


def load(connection: psycopg.Connection[Any], table: Table, blocks: Iterable[bytes]) -> None:
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.schema, table.name), columns)
    with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
        for block in blocks:
            copy.write(block)


def rows_of(reader: PackReader, table: Table, one: Range) -> Iterator[bytes]:
    """The rows of a range as COPY text. Raises Damaged when a row that lived is in no part."""
    if one.live is None:
        yield from reader.blocks(one.parts[0].rows)
        return
    living = set(_ids(reader.whole(one.live)))
    if len(living) != one.mark[0]:
        raise Damaged(f"The list of rows of {table.key} does not have as many as were counted.")
    for part in reversed(one.parts):
        if not living:
            return
        yield from _living(reader, part, living)
    if living:
        raise Damaged(f"{len(living)} rows of {table.key} are in no part of its chain.")


def _ids(packed: bytes) -> Iterator[bytes]:
    return (packed[place : place + ID] for place in range(0, len(packed), ID))


def _living(reader: PackReader, part: Part, living: set[bytes]) -> Iterator[bytes]:
    """Rows of a part that nothing newer replaced, which are taken off the list."""
    ids = _ids(reader.whole(part.ids))
    rest = b""
    for block in reader.blocks(part.rows):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        kept = []
        for line in lines:
            if (one := next(ids)) in living:
                living.discard(one)
                kept.append(line)
        if kept:
            yield b"\n".join(kept) + b"\n"
    if rest or next(ids, None) is not None:
        raise Damaged("The rows of a part and their places are not as many.")


def _sequences(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    for schema, name, value, called in manifest.sequences:
        connection.execute(
            "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)", [schema, name, value, called]
        )


def _check(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    wrong = [table.key for table in manifest.tables if _count(connection, table) != table.rows]
    if wrong:
        raise Damaged(f"These tables do not have as many rows as they had: {', '.join(wrong[:5])}.")


def _count(connection: psycopg.Connection[Any], table: Table) -> int:
    row = connection.execute(
        sql.SQL("SELECT count(*) FROM ONLY {}").format(sql.Identifier(table.schema, table.name))
    ).fetchone()
    return int(row[0]) if row else -1
