"""Restoring a run into an empty database.

A marker table exists in the target until the restore is complete, so that no process serves a partial
database. Each finished step is recorded in the transaction that did it, so that a restore can be resumed.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import BackupRefused, Damaged
from backups.engine.manifest import BlockRange, Manifest, Table
from backups.engine.packs import PackReader
from backups.engine.repository import Repository
from backups.engine.row_extraction import iter_range_rows
from backups.engine.source import IS_USER_SCHEMA, ROW_ALIAS, ROW_HASH_SUM, SESSION_SETTINGS

# Both tables are dropped at the end. Their names and step names are stored in targets that can be resumed.
MARKER_TABLE_NAME = "backup_restore"
MARKER_TABLE = sql.Identifier("public", MARKER_TABLE_NAME)
STEP_TABLE = sql.Identifier("public", "backup_restore_step")
CONTENT_COMPARED_STEP = "proved"

EXISTING_RELATIONS_QUERY = f"""
SELECT n.nspname || '.' || c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE {IS_USER_SCHEMA} AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
ORDER BY 1
LIMIT 5"""

# Kinds of statements that may run on several connections at once, one group after the other.
PARALLEL_GROUPS = (("keys", "indexes"), ("foreign keys",))

# Errors of a statement that runs before an object it depends on exists.
DEPENDENCY_ERRORS = (
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.InvalidTableDefinition,
    psycopg.errors.WrongObjectType,
    psycopg.errors.InvalidForeignKey,
    psycopg.errors.DeadlockDetected,
)


@dataclass
class RestoreJob:
    """One restore in progress."""

    reader: PackReader
    manifest: Manifest
    dsn: str
    workers: int
    on_progress: Callable[[int, int], None]
    table_keys: frozenset[str] | None  # None for all tables
    completed_steps: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failed: bool = False

    @property
    def selected_tables(self) -> list[Table]:
        return [
            table for table in self.manifest.tables if self.table_keys is None or table.key in self.table_keys
        ]

    def run_in_parallel(
        self, items: Iterable[Any], action: Callable[[psycopg.Connection[Any], Any], None]
    ) -> None:
        """Call `action` for each item on `workers` connections. Raises the first error."""
        queue = iter(list(items))

        def run() -> None:
            try:
                with connect_target(self.dsn) as connection:
                    while not self._failed and (item := self._next_item(queue)) is not None:
                        action(connection, item)
            except BaseException:
                self._failed = True
                raise

        with ThreadPoolExecutor(self.workers) as pool:
            for future in [pool.submit(run) for _ in range(self.workers)]:
                future.result()

    def _next_item(self, queue: Iterator[Any]) -> Any:
        with self._lock:
            return next(queue, None)

    def record_step(self, connection: psycopg.Connection[Any], name: str) -> None:
        """Record in the current transaction that a step is complete."""
        connection.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(STEP_TABLE), [name])


def restore_backup(
    repository: Repository,
    manifest: Manifest,
    dsn: str,
    *,
    workers: int = 2,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    tables: Iterable[str] | None = None,
    resume: bool = False,
    compare_content: bool = False,
) -> None:
    """Restore a run into an empty database. `on_progress` receives numbers of rows.

    `resume` continues an interrupted restore of the same run. `compare_content` compares the content of each
    table whose rows were hashed. With `tables` (as schema.table) only these are filled, foreign keys are left
    out, and the target stays marked as incomplete.

    Raises BackupRefused, Damaged, KeyMissing, psycopg.Error. The target is then marked as incomplete.
    """
    table_keys = None if tables is None else frozenset(tables)
    if unknown := sorted((table_keys or frozenset()) - {table.key for table in manifest.tables}):
        raise BackupRefused(f"The run has no table {', '.join(unknown[:5])}. Name them as schema.table.")
    job = RestoreJob(repository.pack_reader(manifest), manifest, dsn, workers, on_progress, table_keys)
    with connect_target(dsn) as connection:
        _prepare_target(connection, job, resume=resume)
        _copy_tables(job)
        _restore_sequences(connection, manifest)
        # Row-level security is not enabled yet, so the comparison sees every row.
        if compare_content and CONTENT_COMPARED_STEP not in job.completed_steps:
            _compare_content(job)
            job.record_step(connection, CONTENT_COMPARED_STEP)
        _create_dependent_objects(connection, job)
        connection.execute("ANALYZE")
        if table_keys is None:
            connection.execute(sql.SQL("DROP TABLE {}, {}").format(MARKER_TABLE, STEP_TABLE))


def connect_target(dsn: str, **extra_settings: str) -> psycopg.Connection[Any]:
    """Return an autocommit connection that reads and writes values in the same text form as a backup."""
    connection = psycopg.connect(dsn, autocommit=True)
    settings = {
        **SESSION_SETTINGS,
        "lock_timeout": "0",
        "check_function_bodies": "off",
        "synchronous_commit": "off",
        "maintenance_work_mem": "128MB",
        "application_name": "restore",
        **extra_settings,
    }
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])
    return connection


def find_unfinished_restore(connection: psycopg.Connection[Any]) -> str | None:
    """Return the run id of an incomplete restore into this database, or None."""
    row = connection.execute("SELECT to_regclass(%s)", [f"public.{MARKER_TABLE_NAME}"]).fetchone()
    if not row or row[0] is None:
        return None
    marker = connection.execute(sql.SQL("SELECT run FROM {}").format(MARKER_TABLE)).fetchone()
    return str(marker[0]) if marker else "unknown"


# --- before the rows ---


def _prepare_target(connection: psycopg.Connection[Any], job: RestoreJob, *, resume: bool) -> None:
    """Create the tables of the run in an empty target, or load the completed steps of a resumed restore.

    Raises BackupRefused.
    """
    manifest = job.manifest
    if connection.info.server_version // 10000 < manifest.cluster["version"] // 10000:
        raise BackupRefused("The target's PostgreSQL is older than the one that was backed up.")
    unfinished_run = find_unfinished_restore(connection)
    if unfinished_run and not resume:
        raise BackupRefused(
            f"The target has a restore of run {unfinished_run} that did not finish."
            " Resume it, or drop the database."
        )
    if unfinished_run not in {None, manifest.run_id}:
        raise BackupRefused(f"The target has a restore of another run that did not finish: {unfinished_run}.")
    if unfinished_run:
        _load_completed_steps(connection, job)
        return
    existing = connection.execute(EXISTING_RELATIONS_QUERY).fetchall()
    if existing:
        raise BackupRefused(
            f"The target is not empty: it has {', '.join(row[0] for row in existing)}."
            " Restore into a new, empty database."
        )
    _create_tables(connection, job)


def _load_completed_steps(connection: psycopg.Connection[Any], job: RestoreJob) -> None:
    row = connection.execute(sql.SQL("SELECT tables FROM {}").format(MARKER_TABLE)).fetchone()
    if row is None or (None if row[0] is None else frozenset(row[0])) != job.table_keys:
        raise BackupRefused("The restore that did not finish selected other tables.")
    steps = connection.execute(sql.SQL("SELECT step FROM {}").format(STEP_TABLE))
    job.completed_steps = {row[0] for row in steps}


def _create_tables(connection: psycopg.Connection[Any], job: RestoreJob) -> None:
    """Create the marker and everything that must exist before the rows, in one transaction."""
    table_keys = None if job.table_keys is None else sorted(job.table_keys)
    statements = [("", statement) for group in job.manifest.schema["before"].values() for statement in group]
    with connection.transaction():
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute(sql.SQL("CREATE TABLE {} (run text, tables text[])").format(MARKER_TABLE))
        connection.execute(sql.SQL("CREATE TABLE {} (step text PRIMARY KEY)").format(STEP_TABLE))
        connection.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(MARKER_TABLE), [job.manifest.run_id, table_keys]
        )
        run_in_dependency_order(connection, statements)


def run_in_dependency_order(
    connection: psycopg.Connection[Any],
    statements: Iterable[tuple[str, str]],
    record_step: Callable[[psycopg.Connection[Any], str], None] | None = None,
) -> None:
    """Run all (name, statement) pairs, and retry those that failed because a dependency did not exist yet.

    Raises the first error when a full pass over the remaining statements makes no progress.
    """
    pending = deque(statements)
    failures_in_row = 0
    first_error = None
    while pending:
        name, statement = pending.popleft()
        try:
            _run_statement(connection, name, statement, record_step)
            failures_in_row = 0
            first_error = None
        except DEPENDENCY_ERRORS as error:
            first_error = first_error or error
            pending.append((name, statement))
            failures_in_row += 1
            if failures_in_row > len(pending):
                raise first_error from None


def _run_statement(
    connection: psycopg.Connection[Any],
    name: str,
    statement: str,
    record_step: Callable[[psycopg.Connection[Any], str], None] | None,
) -> None:
    with connection.transaction():
        connection.execute(statement.encode())
        if record_step:
            record_step(connection, name)


# --- the rows ---


def _copy_tables(job: RestoreJob) -> None:
    """Copy the rows of all ranges that are not complete yet. Raises Damaged."""
    ranges = [
        (table, number, block_range)
        for table in job.selected_tables
        for number, block_range in enumerate(table.ranges)
        if block_range.row_count
    ]
    remaining = [item for item in ranges if _range_step(item) not in job.completed_steps]
    total_rows = sum(table.rows for table in job.selected_tables)
    copied_rows = total_rows - sum(block_range.row_count for _, _, block_range in remaining)

    def copy_range(connection: psycopg.Connection[Any], item: tuple[Table, int, BlockRange]) -> None:
        nonlocal copied_rows
        table, _, block_range = item
        with connection.transaction():
            inserted = copy_rows(connection, table, iter_range_rows(job.reader, table, block_range))
            if inserted != block_range.row_count:
                raise Damaged(f"{table.key} does not have as many rows as were counted.")
            job.record_step(connection, _range_step(item))
        copied_rows += block_range.row_count
        job.on_progress(copied_rows, total_rows)

    job.run_in_parallel(remaining, copy_range)


def _range_step(item: tuple[Table, int, BlockRange]) -> str:
    table, number, _ = item
    return f"{table.key} {number}"


def copy_rows(connection: psycopg.Connection[Any], table: Table, blocks: Iterable[bytes]) -> int:
    """Insert rows in the text format of COPY. Returns how many the server inserted."""
    columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.schema, table.name), columns)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def _restore_sequences(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    for schema, name, last_value, is_called in manifest.sequences:
        connection.execute(
            "SELECT setval(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)",
            [schema, name, last_value, is_called],
        )


def _compare_content(job: RestoreJob) -> None:
    """Compare row count and content hash of every table that was hashed. Raises Damaged."""
    differing: list[str] = []

    def compare(connection: psycopg.Connection[Any], table: Table) -> None:
        ref = sql.Identifier(table.schema, table.name)
        statement = sql.SQL("SELECT count(*), {} FROM ONLY {} AS {}").format(ROW_HASH_SUM, ref, ROW_ALIAS)
        row = connection.execute(statement).fetchone()
        if row is None or (int(row[0]), int(row[1])) != table.checksum:
            differing.append(table.key)

    job.run_in_parallel([table for table in job.selected_tables if table.checksum], compare)
    if differing:
        raise Damaged(f"These tables differ from what was backed up: {', '.join(sorted(differing)[:5])}.")


# --- after the rows ---


def _create_dependent_objects(connection: psycopg.Connection[Any], job: RestoreJob) -> None:
    """Create constraints, indexes, views, triggers and policies.

    A statement that fails in parallel, because it needs another one first, runs again at the end.
    """
    statements = [
        (kind, f"{kind} {number}", statement)
        for kind, group in job.manifest.schema["after"].items()
        for number, statement in enumerate(group)
        if job.table_keys is None or kind != "foreign keys"
    ]
    remaining = [item for item in statements if item[1] not in job.completed_steps]
    for kinds in PARALLEL_GROUPS:
        failed: list[tuple[str, str, str]] = []

        def create(worker: psycopg.Connection[Any], item: tuple[str, str, str], failed: Any = failed) -> None:
            _, name, statement = item
            try:
                _run_statement(worker, name, statement, job.record_step)
            except DEPENDENCY_ERRORS:
                failed.append(item)

        job.run_in_parallel([item for item in remaining if item[0] in kinds], create)
        remaining = [item for item in remaining if item[0] not in kinds or item in failed]
    run_in_dependency_order(
        connection, [(name, statement) for _, name, statement in remaining], job.record_step
    )
