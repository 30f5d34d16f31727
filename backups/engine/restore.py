"""Restoring a run into an empty database.

A marker table exists in the target until the restore is complete, so that no process serves a partial
database. Each finished step is recorded in the transaction that did it, so that a restore can be resumed.
"""

import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backups.engine import comparison
from backups.engine.errors import BackupRefused, Damaged
from backups.engine.manifest import BlockRange, Manifest, Table
from backups.engine.packs import PackReader
from backups.engine.repository import Repository
from backups.engine.restore_target import ensure_server_has_what_is_needed, find_existing_objects
from backups.engine.row_extraction import iter_range_rows
from backups.engine.schema.archive import PRE_DATA, Entry, SchemaArchive, StatementFailed, open_archive
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.schema.restore_steps import ROW_SECURITY_STEP, SchemaStep, plan_post_data
from backups.engine.source import SESSION_SETTINGS, apply_settings
from backups.engine.table_names import TableName, format_table_name

# Both tables are dropped at the end. Unfinished targets contain these names and those of the steps.
MARKER_TABLE_NAME = "backup_restore"
MARKER_TABLE = sql.Identifier("public", MARKER_TABLE_NAME)
STEP_TABLE = sql.Identifier("public", "backup_restore_step")
CONTENT_COMPARED_STEP = "content compared"
VIEWS_FILLED_STEP = "materialized views filled"
DEADLOCK_ATTEMPTS = 5


@dataclass
class RestoreJob:
    """One restore in progress."""

    reader: PackReader
    manifest: Manifest
    archive: SchemaArchive
    dsn: str
    workers: int
    on_progress: Callable[[int, int], None]
    table_names: frozenset[TableName] | None  # None for all tables
    completed_steps: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _failed: bool = False

    @property
    def selected_tables(self) -> list[Table]:
        return [
            table
            for table in self.manifest.tables
            if self.table_names is None or table.name in self.table_names
        ]

    @property
    def selected_entries(self) -> list[Entry]:
        if self.table_names is None:
            return self.archive.entries
        return self.archive.select_for_tables([table.oid for table in self.selected_tables])

    def run_in_parallel(
        self,
        items: Iterable[Any],
        action: Callable[[psycopg.Connection[Any], Any], None],
        **settings: str,
    ) -> None:
        """Call `action` for each item on `workers` connections. Raises the first error."""
        queue = iter(list(items))

        def run() -> None:
            try:
                with connect_target(self.dsn, **settings) as connection:
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
    programs: PostgresPrograms,
    workers: int = 2,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    tables: Collection[TableName] | None = None,
    resume: bool = False,
    compare_content: bool = False,
) -> None:
    """Restore a run into an empty database. `on_progress` receives numbers of rows.

    `resume` continues an interrupted restore of the same run. `compare_content` compares the content of each
    table whose rows were hashed, and some tables cell by cell. With `tables` only these are restored, with
    the types, sequences, indexes and constraints that they need; foreign keys to other tables are left out,
    and the target stays marked as incomplete.

    Raises BackupRefused, Damaged, KeyMissing, StatementFailed, psycopg.Error. The target is then marked as
    incomplete, or is still empty.
    """
    table_names = None if tables is None else frozenset(tables)
    known_names = {table.name for table in manifest.tables}
    if unknown := sorted((table_names or frozenset()) - known_names):
        raise BackupRefused(
            f"The run has no table {', '.join(map(format_table_name, unknown[:5]))}."
            " Name them as schema.table; a partitioned table consists of its partitions."
        )
    reader = repository.pack_reader(manifest)
    with (
        open_archive(
            reader.read_chunk(manifest.schema.archive), programs, version=manifest.schema.program_version
        ) as archive,
        connect_target(dsn) as connection,
    ):
        job = RestoreJob(reader, manifest, archive, dsn, workers, on_progress, table_names)
        _prepare_target(connection, job, resume=resume)
        _copy_tables(job)
        _restore_sequences(connection, manifest)
        # Row-level security is enabled last, so that everything before it sees every row.
        if compare_content and CONTENT_COMPARED_STEP not in job.completed_steps:
            _ensure_every_row_is_visible(job)
            _compare_content(job)
            job.record_step(connection, CONTENT_COMPARED_STEP)
        *groups, last_group = plan_post_data(job.selected_entries, rows_by_oid(manifest))
        _create_dependent_objects(job, groups)
        if table_names is None and VIEWS_FILLED_STEP not in job.completed_steps:
            _validate_constraints(connection, manifest)
            _refresh_materialized_views(connection, manifest)
            job.record_step(connection, VIEWS_FILLED_STEP)
        _create_dependent_objects(job, [last_group])
        connection.execute("ANALYZE")
        if table_names is None:
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
    apply_settings(connection, settings)
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

    Raises BackupRefused, StatementFailed.
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
    if existing := find_existing_objects(connection):
        raise BackupRefused(
            f"The target is not empty: it has {', '.join(existing)}. Restore into a new, empty database."
        )
    if job.table_names is None:
        ensure_server_has_what_is_needed(connection, manifest)
    _create_tables(job)


def _load_completed_steps(connection: psycopg.Connection[Any], job: RestoreJob) -> None:
    row = connection.execute(sql.SQL("SELECT tables FROM {}").format(MARKER_TABLE)).fetchone()
    if row is None or row[0] != _selection_of(job):
        raise BackupRefused("The restore that did not finish selected other tables.")
    steps = connection.execute(sql.SQL("SELECT step FROM {}").format(STEP_TABLE))
    job.completed_steps = {row[0] for row in steps}


def _selection_of(job: RestoreJob) -> list[str] | None:
    """Return the names of the selected tables as they are stored in the marker table."""
    return None if job.table_names is None else sorted(map(format_table_name, job.table_names))


def _create_tables(job: RestoreJob) -> None:
    """Create the marker and everything that must exist before the rows, in one transaction."""
    with connect_target(job.dsn) as connection, connection.transaction():
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")
        connection.execute(sql.SQL("CREATE TABLE {} (run text, tables text[])").format(MARKER_TABLE))
        connection.execute(sql.SQL("CREATE TABLE {} (step text PRIMARY KEY)").format(STEP_TABLE))
        connection.execute(
            sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(MARKER_TABLE),
            [job.manifest.run_id, _selection_of(job)],
        )
        job.archive.execute(
            connection, [entry for entry in job.selected_entries if entry.section == PRE_DATA]
        )


# --- the rows ---


def _copy_tables(job: RestoreJob) -> None:
    """Copy the rows of all ranges that are not complete yet. Raises Damaged, BackupRefused."""
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
        try:
            with connection.transaction():
                rows = iter_range_rows(job.reader, table, block_range)
                inserted = copy_rows(connection, table, rows, into=_target_of(job, table))
                if inserted != block_range.row_count:
                    raise Damaged(f"{table.label} does not have as many rows as were counted.")
                job.record_step(connection, _range_step(item))
        except (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError) as error:
            reason = " ".join(str(error).split())
            raise BackupRefused(f"The target rejects the rows of {table.label}: {reason}") from None
        copied_rows += block_range.row_count
        job.on_progress(copied_rows, total_rows)

    # Functions of generated columns and constraints may find other functions by the search path.
    job.run_in_parallel(remaining, copy_range, search_path=job.manifest.schema.search_path)


def _range_step(item: tuple[Table, int, BlockRange]) -> str:
    table, number, _ = item
    return f"{table.label} {number}"


def _target_of(job: RestoreJob, table: Table) -> TableName:
    """Return the table that takes the rows. A selected partition is restored as a table of its own."""
    return table.load_into if table.load_into and job.table_names is None else table.name


def copy_rows(
    connection: psycopg.Connection[Any], table: Table, blocks: Iterable[bytes], *, into: TableName
) -> int:
    """Insert rows in the text format of COPY. Returns how many the server inserted."""
    columns: sql.Composable = sql.SQL("")
    if table.columns:
        columns = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Identifier, table.columns)))
    statement = sql.SQL("COPY {} {} FROM STDIN").format(sql.Identifier(*into), columns)
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in blocks:
                copy.write(block)
        return cursor.rowcount


def _restore_sequences(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    """Set the sequences that exist: a restore of some tables has only those that they need."""
    for schema, name, last_value, is_called in manifest.sequences:
        connection.execute(
            "SELECT setval(c.oid::regclass, %s, %s)"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE c.relkind = 'S' AND (n.nspname, c.relname) = (%s, %s)",
            [last_value, is_called, schema, name],
        )


def _compare_content(job: RestoreJob) -> None:
    """Compare the content of every table that was hashed, and of some tables cell by cell. Raises Damaged."""
    groups = comparison.group_tables(job.selected_tables, by_target=job.table_names is None)
    differing: list[str] = []

    def compare(connection: psycopg.Connection[Any], tables: list[Table]) -> None:
        if not comparison.have_same_content(connection, tables):
            differing.extend(table.label for table in tables)

    job.run_in_parallel([tables for tables in groups if comparison.is_provable(tables)], compare)
    sample = comparison.sample_groups(groups)
    job.run_in_parallel(
        sample, lambda connection, tables: comparison.compare_cells(connection, job.reader, tables)
    )
    if differing:
        raise Damaged(f"These tables differ from what was backed up: {', '.join(sorted(differing)[:5])}.")


# --- after the rows ---


def rows_by_oid(manifest: Manifest) -> dict[int, int]:
    """Return the number of rows by the oid of the table in the source."""
    return {table.oid: table.rows for table in manifest.tables}


def _ensure_every_row_is_visible(job: RestoreJob) -> None:
    """Raise BackupRefused when a restore is resumed after row-level security was enabled."""
    if ROW_SECURITY_STEP in job.completed_steps:
        raise BackupRefused(
            "The content cannot be compared any more, because row-level security is in force."
            " Resume without the comparison, or restore into a new database."
        )


def _create_dependent_objects(job: RestoreJob, groups: list[list[SchemaStep]]) -> None:
    """Create what comes after the rows: indexes, constraints, triggers and so on. Raises StatementFailed."""

    def create(_: psycopg.Connection[Any], step: SchemaStep) -> None:
        for attempt in range(DEADLOCK_ATTEMPTS):
            try:
                # The script changes the settings of its session.
                with connect_target(job.dsn) as connection, connection.transaction():
                    job.archive.execute(connection, step.entries)
                    job.record_step(connection, step.name)
            except psycopg.errors.DeadlockDetected:
                if attempt == DEADLOCK_ATTEMPTS - 1:
                    raise
            else:
                return

    for steps in groups:
        job.run_in_parallel([step for step in steps if step.name not in job.completed_steps], create)


def _validate_constraints(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    """Validate the constraints that were validated, and that `pg_restore` left not validated."""
    for schema, table, constraint in manifest.schema.catalogue["validated_children"]:
        connection.execute(
            sql.SQL("ALTER TABLE ONLY {} VALIDATE CONSTRAINT {}").format(
                sql.Identifier(schema, table), sql.Identifier(constraint)
            )
        )


def _refresh_materialized_views(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    """Fill the materialized views that were filled. One that reads another one is filled after it."""
    pending = [TableName(*name) for name in manifest.schema.catalogue["populated_views"]]
    while pending:
        reasons: dict[TableName, str] = {}
        for view in pending:
            try:
                connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(sql.Identifier(*view)))
            except psycopg.Error as error:
                reasons[view] = " ".join(str(error).split())
        if len(reasons) == len(pending):
            view, reason = reasons.popitem()
            raise StatementFailed(
                f"The materialized view {format_table_name(view)} could not be filled: {reason}"
            )
        pending = list(reasons)
