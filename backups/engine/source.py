"""The database that is read: one snapshot for many connections, what it has, and what tells whether its
tables are those of the last run.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import BackupRefused

# What values look like as text must not depend on whose connection it is (B-7). One worker reads in the order
# of ctid, with and without an index.
PINNED = {
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
OLDEST = 140000  # PostgreSQL 14: the first that reads a range of ctids without the whole table
TRIES = 5  # when tables come and go between listing and locking
OURS = "n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'"
# Tables with rows of their own that outlive a crash. What an extension keeps for itself is made anew with it.
TABLES = f"""SELECT c.oid, n.nspname, c.relname, am.amname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam
    WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND {OURS}
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    ORDER BY n.nspname, c.relname"""
# What gives a version the text that it has: where it lies, which columns it has, and what their types write.
SHAPE = """SELECT concat_ws('|', pg_relation_filenode(c.oid), c.relam, (
        SELECT string_agg(concat_ws(',', a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attgenerated, a.attmissingval::text), ';' ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), (
        SELECT string_agg(concat_ws(',', e.enumtypid, e.enumlabel, e.enumsortorder), ';' ORDER BY e.oid) FROM pg_enum e), (
        SELECT string_agg(concat_ws(',', x.extname, x.extversion), ';' ORDER BY x.extname) FROM pg_extension x))
    FROM pg_class c WHERE c.oid = %s"""
# What proves a restored table: the sum of its rows' hashes. Text, since not every type can be hashed.
ROW = sql.Identifier("row of a backup")
TOTAL = sql.SQL("coalesce(sum(hashtextextended({}::text, 0)), 0)").format(ROW)
COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attnum"


@dataclass(frozen=True, slots=True)
class TableInfo:
    """A table as the snapshot has it."""

    oid: int
    schema: str
    name: str
    heap: bool
    columns: tuple[str, ...]
    shape: str

    @property
    def ref(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)

    @property
    def key(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Source:
    """How to connect.

    `session` are settings that the reader's role needs, such as the context of row-level security; every row
    must be seen.
    """

    dsn: str
    session: Mapping[str, str]
    leave_out: frozenset[str] = frozenset()  # schema.table whose rows are not taken
    admits: str = ""  # how a policy begins, as the catalogue writes it, that lets this session see every row

    def connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self.dsn, autocommit=True)
        for name, value in {**PINNED, **self.session}.items():
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        return connection


@dataclass
class Snapshot:
    """One moment of the database, held by a transaction with every table locked against being rewritten."""

    source: Source
    connection: psycopg.Connection[Any]
    name: str
    at: str
    xmin: int
    xid: int
    lsn: str
    cluster: dict[str, Any]
    tables: list[TableInfo]
    waited: float  # seconds, for locks

    @contextmanager
    def reader(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that sees the same."""
        with self.source.connect() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.name)))
            yield connection

    def durable(self, *, seconds: float = 30) -> None:
        """Wait until what the snapshot saw is on the server's disk: a crash could give its numbers to other
        rows. Raises Refused.
        """
        with self.source.connect() as connection:
            deadline = time.monotonic() + seconds
            while True:
                statement = "SELECT pg_is_in_recovery() OR pg_current_wal_flush_lsn() >= %s::pg_lsn"
                if _one(connection, statement, [self.lsn]):
                    return
                if time.monotonic() > deadline:
                    raise BackupRefused("What the backup saw was not on the server's disk in time.")
                time.sleep(0.05)


@contextmanager
def snapshot(source: Source) -> Iterator[Snapshot]:
    """Tables are locked before the moment is taken: one that was emptied in between would look empty
    (TRUNCATE is not MVCC-safe). Raises Refused.
    """
    with source.connect() as connection:
        if connection.info.server_version < OLDEST:
            raise BackupRefused("PostgreSQL 14 or newer is needed.")
        began = time.monotonic()
        for _ in range(TRIES):
            listed = connection.execute(TABLES).fetchall()
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                for _, schema, name, _ in listed:
                    connection.execute(
                        sql.SQL("LOCK TABLE ONLY {} IN ACCESS SHARE MODE").format(
                            sql.Identifier(schema, name)
                        )
                    )
                name, at, xmin, xid, lsn = connection.execute(
                    "SELECT pg_export_snapshot(), to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),"
                    " pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,"
                    " CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END::text"
                ).fetchone()  # type: ignore[misc]  # one row, always
                if connection.execute(TABLES).fetchall() == listed:
                    waited = time.monotonic() - began
                    tables = [_found(connection, *row) for row in listed]
                    break
            except (psycopg.errors.LockNotAvailable, psycopg.errors.UndefinedTable):
                pass  # again, below
            connection.execute("ROLLBACK")
            time.sleep(0.2)
        else:
            raise BackupRefused(
                "Tables came and went, or were locked, each time a snapshot was taken. Try again when no migration is running."
            )
        yield Snapshot(source, connection, name, at, xmin, xid, lsn, _cluster(connection), tables, waited)


def _found(connection: psycopg.Connection[Any], oid: int, schema: str, name: str, access: str) -> TableInfo:
    columns = tuple(row[0] for row in connection.execute(COLUMNS, [oid]))
    shape = hashlib.sha256(str(_one(connection, SHAPE, [oid])).encode()).hexdigest()
    return TableInfo(oid, schema, name, access == "heap", columns, shape)


def _cluster(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """What, when it is another, makes ctid and xmin say nothing: another cluster, another line of its
    history, another version.
    """
    timeline = "SELECT CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
    return {
        "system": str(_one(connection, "SELECT system_identifier FROM pg_control_system()")),
        "timeline": _one(connection, timeline),
        "version": connection.info.server_version,
        "database": _one(
            connection, "SELECT oid::bigint FROM pg_database WHERE datname = current_database()"
        ),
    }


def check(source: Source) -> None:
    """Refuse what a backup would not hold whole. Raises Refused."""
    with source.connect() as connection:
        if _one(connection, "SELECT EXISTS (SELECT FROM pg_largeobject_metadata)"):
            raise BackupRefused(
                "The database has large objects, which are not taken. Keep files in an object store."
            )
        missing = connection.execute(
            f"SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'S') AND {OURS}"
            " AND NOT has_table_privilege(c.oid, 'SELECT') ORDER BY 1"
        ).fetchall()
        if missing:
            raise BackupRefused(
                f"The role may not read {', '.join(row[0] for row in missing[:5])}. GRANT pg_read_all_data TO it."
            )


# Tables whose policies hold for the role of the session, and are not known to let it see everything.
FILTERED = f"""SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON r.rolname = current_user
    WHERE {OURS.replace("%", "%%")} AND c.relkind IN ('r', 'p') AND c.relrowsecurity AND NOT r.rolsuper AND NOT r.rolbypassrls AND (c.relforcerowsecurity OR c.relowner <> r.oid) AND (
        NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polpermissive AND p.polcmd IN ('r', '*') AND p.polroles = '{{0}}' AND starts_with(pg_get_expr(p.polqual, p.polrelid), %(admits)s))
        OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND NOT p.polpermissive AND p.polcmd IN ('r', '*') AND NOT starts_with(pg_get_expr(p.polqual, p.polrelid), %(admits)s)))
    ORDER BY 1"""


def check_policies(connection: psycopg.Connection[Any], source: Source) -> None:
    """Refuse a session that row-level security would hide rows from, once no policy can change any more.

    With `row_security = off` the server does so itself. Raises Refused.
    """
    if source.session.get("row_security") != "on":
        return
    found = (
        connection.execute(FILTERED, {"admits": source.admits}).fetchall()
        if source.admits
        else [("every table",)]
    )
    if found:
        raise BackupRefused(
            f"Row-level security would hide rows of {', '.join(row[0] for row in found[:5])} from this role."
        )


def sequences(connection: psycopg.Connection[Any]) -> list[list[Any]]:
    """Schema, name, last value and whether it was given out. Read after the rows, so never behind them."""
    names = connection.execute(
        f"SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND {OURS} ORDER BY 1, 2"
    ).fetchall()
    read = sql.SQL("SELECT last_value, is_called FROM {}")
    found = []
    for schema, name in names:
        row = connection.execute(read.format(sql.Identifier(schema, name))).fetchone()
        assert row is not None
        found.append([schema, name, row[0], row[1]])
    return found


def _one(connection: psycopg.Connection[Any], statement: str, values: Any = None) -> Any:
    row = connection.execute(statement, values).fetchone()
    return row[0] if row else None
