"""Putting the rows of one site, as a backup has them, beside what is there now: under new ids, so that
nothing is overwritten.

Which tables belong to a site is asked of the catalogue (they have a `site_id`), as are keys and references,
so that a table that is new is taken along without a change here.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
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

SITE = "sites_site"
# What does not come back: rights that may have been taken away since, links that were revoked, and deeds that
# would be done by themselves.
LEFT_OUT = {
    "sites_access",
    "sites_invitation",
    "sites_preview",
    "sites_review",
    "sites_schedule",
    "sites_announcement",
    "analytics_share",
    "analytics_subscription",
    "backups_siterestore",
}
OWNED = """SELECT DISTINCT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'site_id' AND NOT a.attisdropped
    WHERE c.relkind = 'r' AND NOT c.relispartition AND c.relname NOT LIKE 'audit\\_%' ORDER BY 1"""
COLUMNS = """SELECT a.attname, format_type(a.atttypid, NULL), NOT a.attnotnull, EXISTS (SELECT FROM pg_index x WHERE x.indrelid = a.attrelid AND x.indisprimary AND a.attnum = ANY (x.indkey))
    FROM pg_attribute a WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum"""
REFERENCES = """SELECT a.attname, k.confrelid::regclass::text, f.attname FROM pg_constraint k
    JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1] JOIN pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = k.confkey[1]
    WHERE k.contype = 'f' AND k.conrelid = %s::regclass"""
ID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str
    nullable: bool
    key: bool


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows of one table on their way, in a temporary table."""

    name: str
    columns: list[Column]

    @property
    def temporary(self) -> str:
        return f"back_{self.name}"[:63]

    @property
    def table(self) -> sql.Identifier:
        return sql.Identifier("pg_temp", self.temporary)

    @property
    def kept(self) -> list[Column]:
        """What is inserted. Numbers that the database gives out are given out anew."""
        return [one for one in self.columns if not (one.key and one.type in {"bigint", "integer"})]

    def column(self, name: str) -> Column:
        return next(one for one in self.columns if one.name == name)


Rows = dict[str, IO[bytes]]  # by table, as COPY writes them


def owned() -> list[str]:
    """Tables with rows of sites, the sites' own first."""
    with connection.cursor() as cursor:
        cursor.execute(OWNED)
        return [SITE, *(row[0] for row in cursor.fetchall() if row[0] != SITE)]


@contextmanager
def fetched(manifest: Manifest, reader: PackReader, site: UUID) -> Iterator[Rows]:
    """The rows of a site out of the backup, in files without a name.

    It takes as long as reading the packs does, so in no transaction. Raises Damaged.
    """
    wanted = set(owned()) - LEFT_OUT
    found: Rows = {}
    with ExitStack() as files:
        for table in manifest.tables:
            if table.schema == "public" and table.name in wanted:
                file: IO[bytes] = files.enter_context(SpooledTemporaryFile(1 << 20))
                column = "id" if table.name == SITE else "site_id"
                for fields in row_extraction.rows(reader, table, column=column, value=str(site).encode()):
                    file.write(b"\t".join(fields) + b"\n")
                file.seek(0)
                found[table.name] = file
        yield found


class SiteImport:
    """One site on its way. In one transaction and context `system`; what is temporary goes with it."""

    def __init__(self, manifest: Manifest, rows: Rows) -> None:
        self.cursor = connection.cursor()
        self.manifest = manifest
        self.rows = rows
        self.owned = owned()
        self.ids: dict[str, UUID] = {}

    def stage(self) -> None:
        """Put what comes back into temporary tables. Raises Refused when the site was not there then."""
        then = {table.name: table for table in self.manifest.tables if table.schema == "public"}
        self.staged = [self._stage(then[name]) for name in self.owned if name in self.rows]
        found = self._all("SELECT id FROM {}", self.staged[0].table)
        if not found:
            raise BackupRefused("The site was not there at that moment.")
        self.site: UUID = found[0][0]

    def _stage(self, table: Table) -> Staged:
        facts = [Column(*row) for row in self._rows(COLUMNS, [table.name])]
        staged = Staged(table.name, [one for one in facts if one.name in table.columns])
        names = sql.SQL(", ").join(sql.Identifier(one.name) for one in staged.columns)
        make = "CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA"
        self._run(make, sql.Identifier(staged.temporary), names, sql.Identifier(table.name))
        places = [table.columns.index(one.name) for one in staged.columns]
        # Psycopg's.
        with self.cursor.copy(sql.SQL("COPY {} FROM STDIN").format(staged.table)) as copy:  # type: ignore[attr-defined]
            for line in self.rows[table.name]:
                fields = line.rstrip(b"\n").split(b"\t")
                copy.write(b"\t".join(fields[place] for place in places) + b"\n")
        return staged

    def rename(self) -> UUID:
        """Give every row a new id, in the order of the old ones, and let all that refers to them follow.

        The new id of the site.
        """
        self._drop_dangling()
        for staged in self.staged:
            for one in staged.columns:
                if one.key and one.type == "uuid" and one.name != "site_id":
                    rows = self._all(
                        "SELECT {0} FROM {1} ORDER BY {0}", sql.Identifier(one.name), staged.table
                    )
                    self.ids |= {str(row[0]): uuid7() for row in rows}
        self._run("CREATE TEMP TABLE back_ids (old uuid PRIMARY KEY, new uuid NOT NULL) ON COMMIT DROP")
        with self.cursor.copy("COPY back_ids FROM STDIN") as copy:  # type: ignore[attr-defined]
            for old, new in self.ids.items():
                copy.write_row((old, new))
        for staged in self.staged:
            self._follow(staged)
        return self.ids[str(self.site)]

    def _follow(self, staged: Staged) -> None:
        inside = {name for name, target, _ in self._references(staged) if target in self._names()}
        for one in staged.columns:
            if one.type == "uuid" and (one.key or one.name in inside):
                self._run(
                    "UPDATE {0} SET {1} = new FROM pg_temp.back_ids WHERE old = {1}",
                    staged.table,
                    sql.Identifier(one.name),
                )
            elif one.type == "jsonb":
                self._follow_json(staged, one)

    def _follow_json(self, staged: Staged, one: Column) -> None:
        """Ids within documents, such as those of pictures."""
        name = sql.Identifier(one.name)
        matching = "SELECT ctid::text FROM {1} WHERE {0}::text ~ '[0-9a-f]{{8}}-[0-9a-f]{{4}}-7'"
        for (place,) in self._all(matching, name, staged.table):
            self._run("SELECT {0}::text FROM {1} WHERE ctid = %s::tid", name, staged.table, values=[place])
            text = self.cursor.fetchone()[0]
            changed = ID.sub(lambda found: str(self.ids.get(found[0], found[0])), text)
            if changed != text:
                self._run(
                    "UPDATE {} SET {} = %s::jsonb WHERE ctid = %s::tid",
                    staged.table,
                    name,
                    values=[changed, place],
                )

    def _drop_dangling(self) -> None:
        """What refers to somebody or something that is gone, or did not come along, refers to nothing; where
        it must refer, it goes.
        """
        while any(self._dangling(staged) for staged in self.staged):
            pass

    def _dangling(self, staged: Staged) -> int:
        known = {one.name for one in staged.columns} - ({"owner_id"} if staged.name == SITE else set())
        return sum(
            self._drop(staged, *reference) for reference in self._references(staged) if reference[0] in known
        )

    def _drop(self, staged: Staged, name: str, target: str, key: str) -> int:
        """Rows of `staged` whose `name` refers to nothing that is there: how many were changed or dropped."""
        column = sql.Identifier(name)
        names = self._names()
        found: sql.Composable = sql.SQL("false")  # what belongs to a site and did not come along
        if target in names or target not in self.owned:
            there = Staged(target, []).table if target in names else sql.Identifier(target)
            one = "EXISTS (SELECT FROM {} AS there WHERE there.{} = back.{})"
            found = sql.SQL(one).format(there, sql.Identifier(key), column)
        where = sql.SQL(" WHERE back.{} IS NOT NULL AND NOT {}").format(column, found)
        act = sql.SQL("DELETE FROM {} AS back").format(staged.table)
        if staged.column(name).nullable:
            act = sql.SQL("UPDATE {} AS back SET {} = NULL").format(staged.table, column)
        self.cursor.execute(act + where)  # type: ignore[arg-type]
        return int(self.cursor.rowcount)

    def change_site(self, **values: Any) -> None:
        for name, value in values.items():
            self._run("UPDATE {} SET {} = %s", self.staged[0].table, sql.Identifier(name), values=[value])

    def owner_then(self) -> UUID:
        found: UUID = self._all("SELECT owner_id FROM {}", self.staged[0].table)[0][0]
        return found

    def site_then(self) -> tuple[str, str]:
        """Name and subdomain."""
        found: tuple[str, str] = self._all("SELECT name, subdomain FROM {}", self.staged[0].table)[0]
        return found

    def insert(self, *, anew: set[str]) -> dict[str, int]:
        """Put the rows where they belong; how many of what.

        Columns of the site in `anew` get their defaults.
        """
        counts = {}
        for staged in self.staged:
            wanted = [one.name for one in staged.kept if staged.name != SITE or one.name not in anew]
            names = sql.SQL(", ").join(map(sql.Identifier, wanted))
            conflict = sql.SQL("" if staged.name == SITE else " ON CONFLICT DO NOTHING")
            self._run(
                "INSERT INTO {} ({}) SELECT {} FROM {}{}",
                sql.Identifier(staged.name),
                names,
                names,
                staged.table,
                conflict,
            )
            counts[staged.name] = self.cursor.rowcount
        return counts

    def _names(self) -> set[str]:
        return {staged.name for staged in self.staged}

    def _references(self, staged: Staged) -> Iterator[tuple[str, str, str]]:
        yield from self._rows(REFERENCES, [staged.name])

    def _rows(self, statement: str, values: list[Any]) -> list[Any]:
        self.cursor.execute(statement, values)
        return list(self.cursor.fetchall())

    def _all(self, statement: str, *parts: sql.Composable) -> list[Any]:
        self._run(statement, *parts)
        return list(self.cursor.fetchall())

    def _run(self, statement: str, *parts: sql.Composable, values: Any = None) -> None:
        self.cursor.execute(sql.SQL(statement).format(*parts), values)  # type: ignore[arg-type]
