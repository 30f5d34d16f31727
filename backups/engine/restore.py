"""A run back into an empty database.

Until the last statement the target says of itself that it is not whole.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import BackupRefused, Damaged
from backups.engine.manifest import Manifest, Part, Range, Table, unshuffled
from backups.engine.packs import PackReader
from backups.engine.repository import Repository
from backups.engine.source import OURS, PINNED, ROW, TOTAL

MARKER = "backup_restore"  # a table that is there until everything is
PROVED = "proved"
MARKER_TABLE = sql.Identifier("public", MARKER)
STEPS = sql.Identifier("public", "backup_restore_step")


@dataclass
class Restoring:
    """One restore under way. What is done is noted in the target, in the transaction that did it."""

    reader: PackReader
    manifest: Manifest
    dsn: str
    workers: int
    told: Callable[[int, int], None]
    tables: frozenset[str] | None
    done: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failed: bool = False

    @property
    def wanted(self) -> list[Table]:
        return [table for table in self.manifest.tables if self.tables is None or table.key in self.tables]

    def together(self, items: Iterable[Any], act: Callable[[psycopg.Connection[Any], Any], None]) -> None:
        """Do this with each item on several connections. Raises what went wrong first."""
        work = iter(list(items))

        def run() -> None:
            try:
                with connect(self.dsn) as connection:
                    while not self._failed and (item := self._next(work)) is not None:
                        act(connection, item)
            except BaseException:
                self._failed = True
                raise

        with ThreadPoolExecutor(self.workers) as pool:
            for future in [pool.submit(run) for _ in range(self.workers)]:
                future.result()

    def _next(self, work: Iterator[Any]) -> Any:
        with self._lock:
            return next(work, None)

    def step(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Note, in the transaction that is open, that this is done."""
        connection.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(STEPS), [name])


def restore(
    repository: Repository,
    manifest: Manifest,
    dsn: str,
    *,
    workers: int = 2,
    told: Callable[[int, int], None] = lambda done, total: None,
    tables: Iterable[str] | None = None,
    resume: bool = False,
    prove: bool = False,
) -> None:
    """Make an empty database what the run saw; `told` hears of rows.

    With `resume` a restore of the same run that did not finish goes on. With `prove` the content of each
    table whose rows were summed is compared, too. With `tables` (as schema.table) only these are filled,
    foreign keys are left out, and the target stays marked. Raises Refused, Damaged, KeyMissing,
    psycopg.Error; then the target is marked as not whole.
    """
    chosen = None if tables is None else frozenset(tables)
    if unknown := sorted((chosen or frozenset()) - {table.key for table in manifest.tables}):
        raise BackupRefused(f"The run has no table {', '.join(unknown[:5])}. Name them as schema.table.")
    job = Restoring(repository.reader(manifest), manifest, dsn, workers, told, chosen)
    with connect(dsn) as connection:
        _begin(connection, job, resume=resume)
        _fill(job)
        _sequences(connection, manifest)
        if prove and PROVED not in job.done:
            _prove(job)
            job.step(connection, PROVED)
        _finish(connection, job)
        connection.execute("ANALYZE")
        if chosen is None:
            connection.execute(sql.SQL("DROP TABLE {}, {}").format(MARKER_TABLE, STEPS))


def connect(dsn: str, **more: str) -> psycopg.Connection[Any]:
    """A connection whose values look as they did when they were taken."""
    connection = psycopg.connect(dsn, autocommit=True)
    settings = {
        **PINNED,
        "lock_timeout": "0",
        "check_function_bodies": "off",
        "synchronous_commit": "off",
        "maintenance_work_mem": "128MB",
        "application_name": "restore",
        **more,
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    return connection


def _begin(connection: psycopg.Connection[Any], job: Restoring, *, resume: bool) -> None:
    """An empty target gets the tables of the run, all in one transaction with the marker."""
    manifest = job.manifest
    if connection.info.server_version // 10000 < manifest.cluster["version"] // 10000:
        raise BackupRefused("The target's PostgreSQL is older than the one that was backed up.")
    under_way = unfinished(connection)
    if under_way and not resume:
        raise BackupRefused(
            f"The target has a restore of run {under_way} that did not finish. Go on with it, or drop the database."
        )
    if under_way not in {None, manifest.run}:
        raise BackupRefused(f"The target has a restore of another run that did not finish: {under_way}.")
    if under_way:
        row = connection.execute(sql.SQL("SELECT tables FROM {}").format(MARKER_TABLE)).fetchone()
        if row is None or (None if row[0] is None else frozenset(row[0])) != job.tables:
            raise BackupRefused("The restore that did not finish was one of other tables.")
        job.done = {row[0] for row in connection.execute(sql.SQL("SELECT step FROM {}").format(STEPS))}
        return
    there = connection.execute(
        f"SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {OURS} AND c.relkind IN ('r', 'p', 'v', 'm', 'S') ORDER BY 1 LIMIT 5"
    ).fetchall()
    if there:
        raise BackupRefused(
            f"The target is not empty: it has {', '.join(row[0] for row in there)}. Restore into a database of its own."
        )
    with connection.transaction():
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        marker = "CREATE TABLE {} (run text, tables text[])"
        connection.execute(sql.SQL(marker).format(MARKER_TABLE))
        connection.execute(sql.SQL("CREATE TABLE {} (step text PRIMARY KEY)").format(STEPS))
        chosen = None if job.tables is None else sorted(job.tables)
        connection.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(MARKER_TABLE), [manifest.run, chosen]
        )
        settle(
            connection,
            [
                ("", statement)
                for statements in manifest.schema["before"].values()
                for statement in statements
            ],
        )


def unfinished(connection: psycopg.Connection[Any]) -> str | None:
    """The run whose restore into this database did not finish, or is none of the whole."""
    row = connection.execute("SELECT to_regclass(%s)", [f"public.{MARKER}"]).fetchone()
    if not row or row[0] is None:
        return None
    run = connection.execute(sql.SQL("SELECT run FROM {}").format(MARKER_TABLE)).fetchone()
    return str(run[0]) if run else "unknown"


NOT_YET = (
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidForeignKey,
    psycopg.errors.DeadlockDetected,
)


def settle(
    connection: psycopg.Connection[Any],
    statements: Iterable[tuple[str, str]],
    note: Callable[[psycopg.Connection[Any], str], None] | None = None,
) -> None:
    """Run all (name, statement), each as soon as what it needs is there.

    Raises the error of the first that never works.
    """
    waiting = deque(statements)
    since = 0
    fault = None
    while waiting:
        name, statement = waiting.popleft()
        try:
            _one(connection, name, statement, note)
            since = 0
            fault = None
        except NOT_YET as error:
            fault = fault or error
            waiting.append((name, statement))
            since += 1
            if since > len(waiting):
                raise fault from None


def _one(
    connection: psycopg.Connection[Any],
    name: str,
    statement: str,
    note: Callable[[psycopg.Connection[Any], str], None] | None,
) -> None:
    with connection.transaction():
        connection.execute(statement.encode())
        if note:
            note(connection, name)


def _fill(job: Restoring) -> None:
    wanted = [
        (table, number, one) for table in job.wanted for number, one in enumerate(table.ranges) if one.mark[0]
    ]
    work = [item for item in wanted if _part(item) not in job.done]
    total = sum(table.rows for table in job.wanted)
    done = total - sum(one.mark[0] for _, _, one in work)

    def fill(connection: psycopg.Connection[Any], item: tuple[Table, int, Range]) -> None:
        nonlocal done
        table, _, one = item
        with connection.transaction():
            if load(connection, table, rows_of(job.reader, table, one)) != one.mark[0]:
                raise Damaged(f"{table.key} does not have as many rows as were counted.")
            job.step(connection, _part(item))
        done += one.mark[0]
        job.told(done, total)

    job.together(work, fill)


def _part(item: tuple[Table, int, Range]) -> str:
    return f"{item[0].key} {item[1]}"


# What may be made on several connections, one group after the other.
TOGETHER = (("keys", "indexes"), ("foreign keys",))


def _finish(connection: psycopg.Connection[Any], job: Restoring) -> None:
    """Everything that stands behind the rows. What could not be made beside others is made alone."""
    after = [
        (kind, f"{kind} {number}", statement)
        for kind, statements in job.manifest.schema["after"].items()
        for number, statement in enumerate(statements)
        if job.tables is None or kind != "foreign keys"
    ]
    left = [item for item in after if item[1] not in job.done]
    for kinds in TOGETHER:
        failed: list[tuple[str, str, str]] = []

        def make(other: psycopg.Connection[Any], item: tuple[str, str, str], failed: Any = failed) -> None:
            try:
                _one(other, item[1], item[2], job.step)
            except NOT_YET:
                failed.append(item)

        job.together([item for item in left if item[0] in kinds], make)
        left = [item for item in left if item[0] not in kinds or item in failed]
    settle(connection, [(name, statement) for _, name, statement in left], job.step)


def load(connection: psycopg.Connection[Any], table: Table, blocks: Iterable[bytes]) -> int:
    """Add rows, and say how many the server took."""
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.schema, table.name), columns)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def rows_of(reader: PackReader, table: Table, one: Range) -> Iterator[bytes]:
    """The rows of a range as COPY text. Raises Damaged when a row that lived is in no part."""
    if one.live is None:
        yield from reader.blocks(one.parts[0].rows)
        return
    living = set(unshuffled(reader.whole(one.live)))
    if len(living) != one.mark[0]:
        raise Damaged(f"The list of rows of {table.key} does not have as many as were counted.")
    for part in reversed(one.parts):
        if not living:
            return
        ids = unshuffled(reader.whole(part.ids))
        kept = bytes(map(living.__contains__, ids))  # what nothing newer replaced, and nothing deleted
        living.difference_update(ids)
        if any(kept):
            yield from _kept(reader, part, kept)
    if living:
        raise Damaged(f"{len(living)} rows of {table.key} are in no part of its chain.")


def _kept(reader: PackReader, part: Part, kept: bytes) -> Iterator[bytes]:
    """The rows of a part that have a 1 in `kept`."""
    rest = b""
    place = 0
    for block in reader.blocks(part.rows):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        here = kept[place : place + len(lines)]
        place += len(lines)
        yield b"\n".join([*compress(lines, here), b""])
    if rest or place != len(kept):
        raise Damaged("The rows of a part and their places are not as many.")


def _sequences(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    for schema, name, value, called in manifest.sequences:
        connection.execute(
            "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)",
            [schema, name, value, called],
        )


def _prove(job: Restoring) -> None:
    """Before policies could hide a row: every table whose rows were summed says what it said.

    Raises Damaged.
    """
    wrong: list[str] = []

    def look(connection: psycopg.Connection[Any], table: Table) -> None:
        ref = sql.Identifier(table.schema, table.name)
        row = connection.execute(
            sql.SQL("SELECT count(*), {} FROM ONLY {} AS {}").format(TOTAL, ref, ROW)
        ).fetchone()
        if row is None or (int(row[0]), int(row[1])) != table.sums:
            wrong.append(table.key)

    job.together([table for table in job.wanted if table.sums], look)
    if wrong:
        raise Damaged(f"These tables are not what they were: {', '.join(sorted(wrong)[:5])}.")
