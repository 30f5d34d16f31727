"""Inserting the rows of one site from a backup under new ids, so that existing rows are not overwritten.

Tables, keys and foreign keys come from the PostgreSQL catalogue: a table belongs to a site when it has a
`site_id` column. A new table is therefore included without a change here.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from uuid import UUID

from django.db import connection
from psycopg import sql

from backups.engine import row_extraction
from backups.engine.errors import BackupRefused
from backups.engine.manifest import Manifest, Table
from backups.engine.packs import PackReader
from core.ids import uuid7

SITE_TABLE = "sites_site"
SPOOL_BYTES = 1 << 20  # rows of a table beyond this size go to a file
IDENTIFIER_MAX_LENGTH = 63  # of PostgreSQL
# Tables that are not restored: access rights and links that may have been revoked since, jobs that would run
# by themselves, and the reserved names of the site that exists.
EXCLUDED_TABLES = {
    "sites_access",
    "sites_invitation",
    "sites_preview",
    "sites_review",
    "sites_schedule",
    "sites_announcement",
    "sites_subdomainreservation",
    "analytics_share",
    "analytics_subscription",
    "backups_siterestore",
}
SITE_TABLES_QUERY = """
SELECT DISTINCT c.relname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'site_id' AND NOT a.attisdropped
WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relname NOT LIKE 'audit\\_%'
ORDER BY 1"""
EVENTS_WITHOUT_CHANGE = ["restore_point.%", "site_restore.%"]
TIME_COLUMNS_QUERY = """
SELECT c.relname, a.attname
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('created_at', 'updated_at') AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relname = ANY (%s)
    -- visitors and backups change these
    AND c.relname NOT LIKE ALL (ARRAY['analytics\\_%%', 'backups\\_%%'])"""
# The fields of Column.
COLUMNS_QUERY = """
SELECT
    a.attname,
    format_type(a.atttypid, NULL),
    NOT a.attnotnull,
    EXISTS (
        SELECT FROM pg_index x
        WHERE x.indrelid = a.attrelid AND x.indisprimary AND a.attnum = ANY (x.indkey)
    )
FROM pg_attribute a
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
ORDER BY a.attnum"""
# The fields of ForeignKey.
FOREIGN_KEYS_QUERY = """
SELECT a.attname, k.confrelid::regclass::text, f.attname
FROM pg_constraint k
JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
WHERE k.contype = 'f' AND k.conrelid = %s::regclass"""
UUID_PATTERN = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `key` says whether it is part of the primary key."""

    name: str
    type: str
    nullable: bool
    key: bool


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """`column` refers to `target_column` of `target_table`."""

    column: str
    target_table: str
    target_column: str


@dataclass(frozen=True, slots=True)
class StagedTable:
    """A temporary table with the rows of one table that will be inserted."""

    name: str
    columns: list[Column]

    @property
    def temporary_name(self) -> str:
        return f"back_{self.name}"[:IDENTIFIER_MAX_LENGTH]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("pg_temp", self.temporary_name)

    @property
    def inserted_columns(self) -> list[Column]:
        """All columns but numeric keys, which the database generates again."""
        return [
            column for column in self.columns if not (column.key and column.type in {"bigint", "integer"})
        ]

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)


RowFiles = dict[str, IO[bytes]]  # rows in the text format of COPY, by table name


def list_site_tables() -> list[str]:
    """Return the tables with rows of sites. `sites_site` is the first."""
    with connection.cursor() as cursor:
        cursor.execute(SITE_TABLES_QUERY)
        return [SITE_TABLE, *(row[0] for row in cursor.fetchall() if row[0] != SITE_TABLE)]


def last_change_of(site_id: UUID) -> datetime:
    """Return when the site or anything that belongs to it was last changed.

    Deletions and changes of rows without a time are known from the audit trail.
    """
    with connection.cursor() as cursor:
        cursor.execute(TIME_COLUMNS_QUERY, [list_site_tables()])
        parts = [
            sql.SQL("SELECT max({}) FROM {} WHERE {} = {}").format(
                sql.Identifier(column),
                sql.Identifier(table),
                sql.Identifier("id" if table == SITE_TABLE else "site_id"),
                sql.Literal(site_id),
            )
            for table, column in cursor.fetchall()
        ]
        parts.append(
            sql.SQL(
                "(SELECT created_at FROM audit_entry WHERE site_id = {} AND event NOT LIKE ALL ({})"
                " ORDER BY id DESC LIMIT 1)"
            ).format(sql.Literal(site_id), sql.Literal(EVENTS_WITHOUT_CHANGE))
        )
        cursor.execute(  # type: ignore[arg-type]
            sql.SQL("SELECT max(changed.at) FROM ({}) AS changed (at)").format(
                sql.SQL(" UNION ALL ").join(parts)
            )
        )
        last_change: datetime = cursor.fetchone()[0]
        return last_change


@contextmanager
def extract_site_rows(manifest: Manifest, reader: PackReader, site_id: UUID) -> Iterator[RowFiles]:
    """Read the rows of a site from a backup into temporary files.

    This takes as long as reading the packs, so do not call it in a transaction. Raises Damaged, KeyMissing.
    """
    restored_tables = set(list_site_tables()) - EXCLUDED_TABLES
    row_files: RowFiles = {}
    value = str(site_id).encode()
    with ExitStack() as stack:
        for table in manifest.tables:
            if table.name.schema != "public" or table.name.table not in restored_tables:
                continue
            file: IO[bytes] = stack.enter_context(SpooledTemporaryFile(SPOOL_BYTES))
            column = "id" if table.name.table == SITE_TABLE else "site_id"
            for fields in row_extraction.iter_matching_rows(reader, table, column=column, value=value):
                file.write(b"\t".join(fields) + b"\n")
            file.seek(0)
            row_files[table.name.table] = file
        yield row_files


class SiteImport:
    """Inserts the rows of one site.

    Use it in one transaction and in the context `system`. Its temporary tables are dropped at the commit.
    Call `stage_rows`, then `assign_new_ids`, then `update_site`, then `insert_rows`.
    """

    def __init__(self, manifest: Manifest, row_files: RowFiles) -> None:
        self.cursor = connection.cursor()
        self.manifest = manifest
        self.row_files = row_files
        self.site_tables = list_site_tables()
        self.new_ids: dict[str, UUID] = {}

    def stage_rows(self) -> None:
        """Copy the rows into temporary tables. Raises BackupRefused when the backup lacks the site."""
        stored_tables = {
            table.name.table: table for table in self.manifest.tables if table.name.schema == "public"
        }
        self.staged_tables = [
            self._stage_table(stored_tables[name]) for name in self.site_tables if name in self.row_files
        ]
        site_rows = self._fetch_all("SELECT id FROM {}", self.staged_tables[0].table)
        if not site_rows:
            raise BackupRefused("The site did not exist at the time of the backup.")
        self.site_id: UUID = site_rows[0][0]

    def _stage_table(self, table: Table) -> StagedTable:
        """Stage the columns that the table has both in the backup and now."""
        current_columns = [Column(*row) for row in self._query(COLUMNS_QUERY, [table.name.table])]
        staged = StagedTable(
            table.name.table, [column for column in current_columns if column.name in table.columns]
        )
        names = sql.SQL(", ").join(sql.Identifier(column.name) for column in staged.columns)
        self._run(
            "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA",
            sql.Identifier(staged.temporary_name),
            names,
            sql.Identifier(table.name.table),
        )
        positions = [table.columns.index(column.name) for column in staged.columns]
        # Django's cursor wraps psycopg's, which has copy().
        statement = sql.SQL("COPY {} FROM STDIN").format(staged.table)
        with self.cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            for line in self.row_files[table.name.table]:
                fields = line.rstrip(b"\n").split(b"\t")
                copy.write(b"\t".join(fields[position] for position in positions) + b"\n")
        return staged

    def assign_new_ids(self) -> UUID:
        """Give every row a new id, in the order of the old ids, and update all references to it.

        Rows whose references cannot be kept are changed or dropped first. Returns the new id of the site.
        """
        self._drop_dangling_references()
        for staged in self.staged_tables:
            for column in staged.columns:
                if column.key and column.type == "uuid" and column.name != "site_id":
                    rows = self._fetch_all(
                        "SELECT {0} FROM {1} ORDER BY {0}", sql.Identifier(column.name), staged.table
                    )
                    self.new_ids |= {str(row[0]): uuid7() for row in rows}
        self._run("CREATE TEMP TABLE back_ids (old uuid PRIMARY KEY, new uuid NOT NULL) ON COMMIT DROP")
        with self.cursor.copy("COPY back_ids FROM STDIN") as copy:  # type: ignore[attr-defined]
            for old, new in self.new_ids.items():
                copy.write_row((old, new))
        for staged in self.staged_tables:
            self._replace_ids(staged)
        return self.new_ids[str(self.site_id)]

    def _replace_ids(self, staged: StagedTable) -> None:
        staged_names = self._staged_names()
        internal_references = {
            key.column for key in self._foreign_keys(staged) if key.target_table in staged_names
        }
        for column in staged.columns:
            if column.type == "uuid" and (column.key or column.name in internal_references):
                self._run(
                    "UPDATE {0} SET {1} = new FROM pg_temp.back_ids WHERE old = {1}",
                    staged.table,
                    sql.Identifier(column.name),
                )
            elif column.type == "jsonb":
                self._replace_ids_in_json(staged, column)

    def _replace_ids_in_json(self, staged: StagedTable, column: Column) -> None:
        """Replace ids inside JSON documents, such as those of pictures."""
        name = sql.Identifier(column.name)
        has_uuid7 = "SELECT ctid::text FROM {1} WHERE {0}::text ~ '[0-9a-f]{{8}}-[0-9a-f]{{4}}-7'"
        for (ctid,) in self._fetch_all(has_uuid7, name, staged.table):
            self._run("SELECT {0}::text FROM {1} WHERE ctid = %s::tid", name, staged.table, values=[ctid])
            text = self.cursor.fetchone()[0]
            new_text = UUID_PATTERN.sub(lambda match: str(self.new_ids.get(match[0], match[0])), text)
            if new_text != text:
                self._run(
                    "UPDATE {} SET {} = %s::jsonb WHERE ctid = %s::tid",
                    staged.table,
                    name,
                    values=[new_text, ctid],
                )

    def _drop_dangling_references(self) -> None:
        """Clear references to rows that do not exist now and are not restored.

        A row whose reference cannot be NULL is dropped, which may leave other references dangling.
        """
        while any(self._drop_dangling_in(staged) for staged in self.staged_tables):
            pass

    def _drop_dangling_in(self, staged: StagedTable) -> int:
        columns = {column.name for column in staged.columns}
        if staged.name == SITE_TABLE:
            columns.discard("owner_id")  # `update_site` sets it
        return sum(
            self._drop_dangling(staged, key) for key in self._foreign_keys(staged) if key.column in columns
        )

    def _drop_dangling(self, staged: StagedTable, key: ForeignKey) -> int:
        """Clear or drop the rows of `staged` whose foreign key refers to no row. Returns how many."""
        column = sql.Identifier(key.column)
        staged_names = self._staged_names()
        target_exists: sql.Composable = sql.SQL("false")  # rows of a site in a table that is not restored
        if key.target_table in staged_names or key.target_table not in self.site_tables:
            is_staged = key.target_table in staged_names
            target = (
                StagedTable(key.target_table, []).table if is_staged else sql.Identifier(key.target_table)
            )
            target_exists = sql.SQL("EXISTS (SELECT FROM {} AS target WHERE target.{} = back.{})").format(
                target, sql.Identifier(key.target_column), column
            )
        condition = sql.SQL(" WHERE back.{} IS NOT NULL AND NOT {}").format(column, target_exists)
        statement = sql.SQL("DELETE FROM {} AS back").format(staged.table)
        if staged.column(key.column).nullable:
            statement = sql.SQL("UPDATE {} AS back SET {} = NULL").format(staged.table, column)
        self.cursor.execute(statement + condition)  # type: ignore[arg-type]
        return int(self.cursor.rowcount)

    def update_site(self, **columns: Any) -> None:
        """Set columns of the staged site."""
        for name, value in columns.items():
            self._run(
                "UPDATE {} SET {} = %s", self.staged_tables[0].table, sql.Identifier(name), values=[value]
            )

    def stored_owner_id(self) -> UUID:
        """Return the owner of the site at the time of the backup."""
        owner_id: UUID = self._fetch_all("SELECT owner_id FROM {}", self.staged_tables[0].table)[0][0]
        return owner_id

    def stored_name_and_subdomain(self) -> tuple[str, str]:
        """Return the name and the subdomain of the site at the time of the backup."""
        row: tuple[str, str] = self._fetch_all("SELECT name, subdomain FROM {}", self.staged_tables[0].table)[
            0
        ]
        return row

    def insert_rows(self, *, defaulted_site_columns: set[str]) -> dict[str, int]:
        """Insert the staged rows into the real tables. Returns the number of rows by table.

        The site's `defaulted_site_columns` get their column defaults.
        """
        counts = {}
        for staged in self.staged_tables:
            is_site = staged.name == SITE_TABLE
            columns = [
                column.name
                for column in staged.inserted_columns
                if not is_site or column.name not in defaulted_site_columns
            ]
            names = sql.SQL(", ").join(map(sql.Identifier, columns))
            self._run(
                "INSERT INTO {} ({}) SELECT {} FROM {}{}",
                sql.Identifier(staged.name),
                names,
                names,
                staged.table,
                sql.SQL("" if is_site else " ON CONFLICT DO NOTHING"),
            )
            counts[staged.name] = self.cursor.rowcount
        return counts

    def _staged_names(self) -> set[str]:
        return {staged.name for staged in self.staged_tables}

    def _foreign_keys(self, staged: StagedTable) -> list[ForeignKey]:
        return [ForeignKey(*row) for row in self._query(FOREIGN_KEYS_QUERY, [staged.name])]

    def _query(self, statement: str, values: list[Any]) -> list[Any]:
        self.cursor.execute(statement, values)
        return list(self.cursor.fetchall())

    def _fetch_all(self, statement: str, *parts: sql.Composable) -> list[Any]:
        self._run(statement, *parts)
        return list(self.cursor.fetchall())

    def _run(self, statement: str, *parts: sql.Composable, values: Any = None) -> None:
        self.cursor.execute(sql.SQL(statement).format(*parts), values)  # type: ignore[arg-type]
