"""The database that is backed up.

This module opens one snapshot for several connections, lists the tables, and collects what decides whether
row versions can be compared with those of an earlier run.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import BackupRefused
from backups.engine.schema import catalogue
from backups.engine.schema.catalogue import IS_USER_SCHEMA, not_from_extension
from backups.engine.schema.row_shapes import row_shapes
from backups.engine.table_names import TableName, format_table_name

# The text form of a value must not depend on the settings of a role or database. Without parallel workers and
# synchronized scans, a table is read in the order of ctid, with and without an index.
SESSION_SETTINGS = {
    "client_encoding": "UTF8",
    "datestyle": "ISO",
    "intervalstyle": "iso_8601",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "search_path": "pg_catalog",
    "lc_monetary": "C",
    "max_parallel_workers_per_gather": "0",
    "synchronize_seqscans": "off",
    "jit": "off",
    "row_security": "off",
    "lock_timeout": "5s",
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "application_name": "backup",
}
MIN_SERVER_VERSION = 150000
SNAPSHOT_ATTEMPTS = 5  # when tables are created or dropped between listing and locking
DURABLE_TIMEOUT_SECONDS = 30

# Permanent tables with rows of their own. Tables that belong to an extension are created with the extension.
TABLES_QUERY = f"""
SELECT c.oid::bigint, n.nspname, c.relname, am.amname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am am ON am.oid = c.relam
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {IS_USER_SCHEMA}
    AND {not_from_extension("pg_class", "c")}
ORDER BY n.nspname, c.relname"""

DEFAULT_SEARCH_PATH_QUERY = "SELECT reset_val FROM pg_settings WHERE name = 'search_path'"

# Sessions that hold a lock on a table that conflicts with ACCESS SHARE.
LOCK_HOLDERS_QUERY = """
SELECT format(
    'process %%s of role %%s (%%s), in a transaction for %%s s',
    a.pid,
    a.usename,
    coalesce(nullif(a.application_name, ''), 'no application name'),
    extract(epoch FROM clock_timestamp() - a.xact_start)::int
)
FROM pg_locks l
JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.relation = %s AND l.granted AND l.mode = 'AccessExclusiveLock'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""

SNAPSHOT_QUERY = """
SELECT
    pg_export_snapshot(),
    to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
    CASE
        WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
        ELSE pg_current_wal_insert_lsn()
    END::text"""

# Writes a record to the WAL that nothing reads. A standby cannot, and needs not.
FLUSH_STATEMENT = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN pg_logical_emit_message(true, 'backup', '') END"""

TIMELINE_QUERY = """
SELECT CASE
    WHEN pg_is_in_recovery() THEN 'standby'
    ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8)
END"""

# Tables whose row-level security applies to the session's role and has no policy that shows it every row.
FILTERED_TABLES_QUERY = f"""
SELECT n.nspname || '.' || c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.rolname = current_user
WHERE {IS_USER_SCHEMA.replace("%", "%%")}
    AND c.relkind IN ('r', 'p')
    AND c.relrowsecurity
    AND NOT r.rolsuper
    AND NOT r.rolbypassrls
    AND (c.relforcerowsecurity OR c.relowner <> r.oid)
    AND (
        NOT EXISTS (
            SELECT FROM pg_policy p
            WHERE p.polrelid = c.oid
                AND p.polpermissive
                AND p.polcmd IN ('r', '*')
                AND p.polroles = '{{0}}'
                AND starts_with(pg_get_expr(p.polqual, p.polrelid), %(policy_prefix)s)
        )
        OR EXISTS (
            SELECT FROM pg_policy p
            WHERE p.polrelid = c.oid
                AND NOT p.polpermissive
                AND p.polcmd IN ('r', '*')
                AND NOT starts_with(pg_get_expr(p.polqual, p.polrelid), %(policy_prefix)s)
        )
    )
ORDER BY 1"""

SEQUENCES_QUERY = f"""
SELECT n.nspname, c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND {IS_USER_SCHEMA} AND {not_from_extension("pg_class", "c")}
ORDER BY 1, 2"""


def row_hash_sum(columns: Iterable[str]) -> sql.Composable:
    """Return the expression for the content checksum of rows: the sum of the hashes of the rows as text.

    Not every type can be hashed, but each has a text. The columns are taken in the order of their names,
    because a restore gives a table that inherits columns another order.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, sorted(columns)))
    return sql.SQL("coalesce(sum(hashtextextended(ROW({})::text, 0)), 0)").format(names)


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table in the snapshot.

    `heap` is False for other table access methods. `load_into` is the table through which its rows are
    restored when that is not the table itself.
    """

    oid: int
    name: TableName
    heap: bool
    columns: tuple[str, ...]  # without generated ones
    all_columns: tuple[str, ...]
    shape: str
    load_into: TableName | None

    @property
    def ref(self) -> sql.Identifier:
        return sql.Identifier(*self.name)


@dataclass(frozen=True, slots=True)
class Source:
    """How to connect to the database, and what to leave out.

    `session_settings` are settings that the role needs in order to see every row, such as the context of
    row-level security. `policy_prefix` is how an accepted policy expression begins, as the catalogue prints
    it; such a policy must show the session every row.
    """

    dsn: str
    session_settings: Mapping[str, str]
    excluded_tables: frozenset[TableName] = frozenset()  # their rows are not stored
    unlogged_tables: frozenset[TableName] = frozenset()  # whose rows are not missed
    policy_prefix: str = ""

    def connect(self) -> psycopg.Connection[Any]:
        """Return an autocommit connection with fixed settings. Raises psycopg.Error."""
        connection = psycopg.connect(self.dsn, autocommit=True)
        apply_settings(connection, {**SESSION_SETTINGS, **self.session_settings})
        return connection


def apply_settings(connection: psycopg.Connection[Any], settings: Mapping[str, str]) -> None:
    """Set the settings of a session. Raises psycopg.Error."""
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", [name, value])


@dataclass
class Snapshot:
    """A snapshot of the database. Its transaction locks every table in ACCESS SHARE mode."""

    source: Source
    connection: psycopg.Connection[Any]
    name: str
    taken_at: str  # ISO 8601, UTC
    xmin: int
    xid: int
    lsn: str
    cluster: dict[str, Any]
    tables: list[TableInfo]
    lock_wait_seconds: float
    search_path: str  # the default of the role and the database

    @property
    def server_version(self) -> int:
        """The major version of the server."""
        return self.connection.info.server_version // 10000

    @contextmanager
    def open_reader(self) -> Iterator[psycopg.Connection[Any]]:
        """Yield another connection that sees the same snapshot. Raises psycopg.Error."""
        with self.source.connect() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.name)))
            yield connection

    def wait_until_durable(self, *, timeout_seconds: float = DURABLE_TIMEOUT_SECONDS) -> None:
        """Wait until the server flushed the WAL of everything that the snapshot saw. Raises BackupRefused.

        After a crash the server could otherwise reuse the same transaction ids for other rows. A commit of
        our own makes the server flush, which it otherwise does late when nothing else is written.
        """
        with self.source.connect() as connection:
            connection.execute("SET synchronous_commit = local")
            connection.execute(FLUSH_STATEMENT)
            deadline = time.monotonic() + timeout_seconds
            while True:
                statement = "SELECT pg_is_in_recovery() OR pg_current_wal_flush_lsn() >= %s::pg_lsn"
                if _fetch_value(connection, statement, [self.lsn]):
                    return
                if time.monotonic() > deadline:
                    raise BackupRefused("What the backup saw was not on the server's disk in time.")
                time.sleep(0.05)


@contextmanager
def open_snapshot(source: Source) -> Iterator[Snapshot]:
    """Lock all tables, then take the snapshot, and hold both until the context ends.

    The locks come first because TRUNCATE is not MVCC-safe: a table that is truncated after the snapshot and
    before its lock would look empty. Raises BackupRefused, psycopg.Error.
    """
    with source.connect() as connection:
        if connection.info.server_version < MIN_SERVER_VERSION:
            raise BackupRefused("PostgreSQL 15 or newer is needed.")
        started = time.monotonic()
        tables, snapshot_row = _lock_and_take_snapshot(connection)
        lock_wait_seconds = time.monotonic() - started
        name, taken_at, xmin, xid, lsn = snapshot_row
        cluster = _load_cluster_identity(connection)
        yield Snapshot(
            source,
            connection,
            name,
            taken_at,
            xmin,
            xid,
            lsn,
            cluster,
            tables,
            lock_wait_seconds,
            _fetch_value(connection, DEFAULT_SEARCH_PATH_QUERY),
        )


def _lock_and_take_snapshot(
    connection: psycopg.Connection[Any],
) -> tuple[list[TableInfo], tuple[Any, ...]]:
    """Open the transaction of the snapshot. Returns its tables and the row of SNAPSHOT_QUERY.

    Raises BackupRefused after SNAPSHOT_ATTEMPTS, and psycopg.Error.
    """
    obstacle = ""
    for _ in range(SNAPSHOT_ATTEMPTS):
        table_rows = connection.execute(TABLES_QUERY).fetchall()
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            _lock_tables(connection, table_rows)
            snapshot_row = connection.execute(SNAPSHOT_QUERY).fetchone()
            assert snapshot_row is not None
            if connection.execute(TABLES_QUERY).fetchall() == table_rows:
                return _load_tables(connection, table_rows), snapshot_row
            obstacle = "Tables were created or dropped"
        except psycopg.errors.UndefinedTable:
            obstacle = "A table was dropped"
        except TableLocked as error:
            obstacle = str(error)
        connection.execute("ROLLBACK")
        time.sleep(0.2)
    raise BackupRefused(f"{obstacle} during every attempt to take a snapshot. Try again when that has ended.")


class TableLocked(Exception):
    """Another session holds a lock on a table. The message names both."""


def _lock_tables(connection: psycopg.Connection[Any], table_rows: list[tuple[Any, ...]]) -> None:
    """Lock all tables in ACCESS SHARE mode. Raises TableLocked, psycopg.Error."""
    for oid, schema, name, _ in table_rows:
        table = sql.Identifier(schema, name)
        try:
            connection.execute(sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(table))
        except psycopg.errors.LockNotAvailable:
            connection.execute("ROLLBACK")
            holders = [row[0] for row in connection.execute(LOCK_HOLDERS_QUERY, [oid]).fetchall()]
            held_by = f" by {' and '.join(holders)}" if holders else ""
            raise TableLocked(f"{format_table_name((schema, name))} was locked{held_by}") from None


def _load_tables(
    connection: psycopg.Connection[Any], table_rows: list[tuple[int, str, str, str]]
) -> list[TableInfo]:
    oids = [row[0] for row in table_rows]
    columns = catalogue.list_columns(connection, oids, generated=False)
    all_columns = catalogue.list_columns(connection, oids, generated=True)
    shapes = row_shapes(connection, oids)
    hashed_parents = catalogue.hashed_parents(connection)
    return [
        TableInfo(
            oid,
            TableName(schema, name),
            access_method == "heap",
            columns.get(oid, ()),
            all_columns.get(oid, ()),
            shapes[oid],
            hashed_parents.get(oid),
        )
        for oid, schema, name, access_method in table_rows
    ]


def _load_cluster_identity(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Return what must be equal for ctid and xmin to be comparable with an earlier run.

    They mean something else in another cluster, on another timeline, in another database, or after an
    upgrade of the server.
    """
    return {
        "system": str(_fetch_value(connection, "SELECT system_identifier FROM pg_control_system()")),
        "timeline": _fetch_value(connection, TIMELINE_QUERY),
        "version": connection.info.server_version,
        "database": _fetch_value(
            connection, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
        ),
    }


def ensure_no_rows_are_hidden(connection: psycopg.Connection[Any], source: Source) -> None:
    """Raise BackupRefused when row-level security would hide rows from the session.

    Call it after the tables are locked, when no policy can change any more. With `row_security = off` the
    server itself raises an error in this case.
    """
    if source.session_settings.get("row_security") != "on":
        return
    filtered = (
        connection.execute(FILTERED_TABLES_QUERY, {"policy_prefix": source.policy_prefix}).fetchall()
        if source.policy_prefix
        else [("every table",)]
    )
    if filtered:
        tables = ", ".join(row[0] for row in filtered[:5])
        raise BackupRefused(f"Row-level security would hide rows of {tables} from this role.")


def read_sequences(connection: psycopg.Connection[Any]) -> list[list[Any]]:
    """Return [schema, name, last_value, is_called] of every sequence.

    Call it after the rows were read, so that no sequence is behind the rows.
    """
    sequences = []
    for schema, name in connection.execute(SEQUENCES_QUERY).fetchall():
        statement = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(schema, name))
        row = connection.execute(statement).fetchone()
        assert row is not None
        sequences.append([schema, name, row[0], row[1]])
    return sequences


def _fetch_value(connection: psycopg.Connection[Any], statement: str, values: Any = None) -> Any:
    row = connection.execute(statement, values).fetchone()
    return row[0] if row else None
