"""The schema of a database as `pg_dump` wrote it.

`pg_restore` turns the archive into SQL: all of it, a section, or selected entries. This module does not
interpret SQL. It reads the table of contents for two purposes: to split a restore into steps that can be
resumed, and to select what some tables need.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

from backups.engine.errors import BackupError
from backups.engine.schema.postgres_programs import PostgresPrograms, convert_archive

PRE_DATA = "pre-data"
POST_DATA = "post-data"
# The restoring role owns everything. Tablespaces and providers of security labels belong to a server.
CONVERT_OPTIONS = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-security-labels")
# A line of the table of contents: id; class and oid in the catalogue of the source; kind, names, owner.
ENTRY_PATTERN = re.compile(r"(\d+); (\d+) (\d+) (.*)")
DEPENDENCIES_PREFIX = ";\tdepends on: "
KINDS_OF_SEVERAL_WORDS = (
    "CHECK CONSTRAINT",
    "FK CONSTRAINT",
    "INDEX ATTACH",
    "MATERIALIZED VIEW",
    "ROW SECURITY",
    "SEQUENCE OWNED BY",
    "TABLE ATTACH",
)
# Entries that depend on a table and are restored with it.
PARTS_OF_TABLES = {
    "CHECK CONSTRAINT",
    "CONSTRAINT",
    "DEFAULT",
    "INDEX",
    "SEQUENCE",
    "SEQUENCE OWNED BY",
    "STATISTICS",
}
LINKS_OF_TABLES = {"FK CONSTRAINT", "INDEX ATTACH", "TABLE ATTACH"}  # between two tables
TRANSACTION_TIMEOUT_VERSION = 170000
# pg_restore 17 and newer print this statement, which older servers do not know.
TRANSACTION_TIMEOUT_STATEMENT = "SET transaction_timeout = 0;\n"
# Newer programs write commands of psql with a random key around a script.
RESTRICT_PATTERN = re.compile(r"^\\restrict ([0-9A-Za-z]+)\n", re.MULTILINE)
BOILERPLATE_PATTERN = re.compile(r"^(?:--.*|SET .*;|SELECT pg_catalog\.set_config\('search_path'.*|)\n", re.M)
MAX_STATEMENT_LENGTH = 300
HEADER_BYTES = 64  # of an archive; they contain the time of the dump
# CREATE EXTENSION sets the comment of an extension, and only its owner may change it.
EXTENSION_COMMENT_PREFIX = "COMMENT - EXTENSION "
PG_CLASS_OID = "1259"


class StatementFailed(BackupError):
    """An object could not be created. The message has its kind and name, the reason and the statement."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in the table of contents of an archive. `table_oid` is 0 unless it is a table."""

    id: int
    kind: str
    label: str  # kind, schema, name and owner, as pg_restore prints them
    section: str
    table_oid: int
    depends_on: frozenset[int]


@dataclass
class SchemaArchive:
    """An archive in a file."""

    path: Path
    program: Path
    entries: list[Entry] = field(init=False)

    def __post_init__(self) -> None:
        self.entries = list(self._parse_contents())

    def _parse_contents(self) -> Iterator[Entry]:
        before_rows = convert_archive(self.program, self.path, "--list", f"--section={PRE_DATA}")
        pre_data_ids = {match[1] for line in before_rows.splitlines() if (match := ENTRY_PATTERN.match(line))}
        # Only the verbose list has the dependencies, and it has the entries of all sections.
        lines = convert_archive(self.program, self.path, "--list", "--verbose").splitlines()
        for line, following in zip(lines, [*lines[1:], ""], strict=True):
            match = ENTRY_PATTERN.fullmatch(line)
            if match and not match[4].startswith(EXTENSION_COMMENT_PREFIX):
                number, catalogue, oid, label = match.groups()
                dependencies = following if following.startswith(DEPENDENCIES_PREFIX) else ""
                kind = _kind_of(label)
                yield Entry(
                    int(number),
                    kind,
                    label,
                    PRE_DATA if number in pre_data_ids else POST_DATA,
                    int(oid) if kind == "TABLE" and catalogue == PG_CLASS_OID else 0,
                    frozenset(map(int, re.findall(r"\d+", dependencies))),
                )

    @cached_property
    def table_ids(self) -> dict[int, int]:
        """The id of each table's entry, by the oid of the table in the source."""
        return {entry.table_oid: entry.id for entry in self.entries if entry.table_oid}

    def script(self, *arguments: str, server_version: int) -> str:
        """Return SQL for the server. `arguments` select a part of the archive."""
        text = convert_archive(self.program, self.path, *CONVERT_OPTIONS, *arguments)
        if restrict := RESTRICT_PATTERN.search(text):
            text = text.replace(restrict[0], "", 1).replace(f"\\unrestrict {restrict[1]}\n", "")
        if server_version < TRANSACTION_TIMEOUT_VERSION:
            text = text.replace(TRANSACTION_TIMEOUT_STATEMENT, "", 1)
        return text

    def entries_script(self, entries: Iterable[Entry], *, server_version: int) -> str:
        """Return SQL that creates these entries, in this order."""
        with TemporaryDirectory() as folder:
            list_file = Path(folder) / "list"
            list_file.write_text("".join(f"{entry.id};\n" for entry in entries))
            return self.script(f"--use-list={list_file}", server_version=server_version)

    def execute(self, connection: psycopg.Connection[Any], entries: list[Entry]) -> None:
        """Create the entries in the transaction of the caller. Raises StatementFailed, DeadlockDetected.

        After an error the entries are created again one by one, to find the one that failed.
        """
        if not entries:
            return
        script = self.entries_script(entries, server_version=connection.info.server_version)
        try:
            with connection.transaction():
                connection.execute(script.encode())
        except psycopg.errors.DeadlockDetected:
            raise
        except psycopg.Error as error:
            self._raise_for_failed_entry(connection, entries)
            raise StatementFailed(f"The schema could not be created: {error}") from None

    def _raise_for_failed_entry(self, connection: psycopg.Connection[Any], entries: list[Entry]) -> None:
        with connection.transaction(force_rollback=True):
            for entry in entries:
                script = self.entries_script([entry], server_version=connection.info.server_version)
                try:
                    with connection.transaction():
                        connection.execute(script.encode())
                except psycopg.Error as error:
                    statement = " ".join(BOILERPLATE_PATTERN.sub("", script).split())[:MAX_STATEMENT_LENGTH]
                    raise StatementFailed(
                        f"{entry.label} could not be created: {' '.join(str(error).split())}."
                        f" The statement: {statement}"
                    ) from None

    def select_for_tables(self, oids: Collection[int]) -> list[Entry]:
        """Return the entries that these tables need, with their own indexes and constraints.

        A foreign key or the attachment of a partition is included when both of its tables are.
        """
        by_id = {entry.id: entry for entry in self.entries}
        selected = _with_dependencies({self.table_ids[oid] for oid in oids}, by_id)
        tables = {by_id[number].id for number in selected if by_id[number].table_oid}
        for entry in self.entries:
            if entry.kind in PARTS_OF_TABLES and entry.depends_on & tables:
                selected |= _with_dependencies({entry.id}, by_id)
        for entry in self.entries:
            needed = {number for number in entry.depends_on if number in by_id}
            if entry.kind in LINKS_OF_TABLES and needed <= selected:
                selected.add(entry.id)
        return [entry for entry in self.entries if entry.id in selected]


def _kind_of(label: str) -> str:
    """Return the kind at the beginning of a label, such as `INDEX` or `FK CONSTRAINT`."""
    longer = (kind for kind in KINDS_OF_SEVERAL_WORDS if label.startswith(f"{kind} "))
    return next(longer, label.split(" ", 1)[0])


def _with_dependencies(numbers: set[int], by_id: dict[int, Entry]) -> set[int]:
    """Return these entries and all that they depend on. Dependencies without an entry are skipped."""
    closed: set[int] = set()
    pending = list(numbers)
    while pending:
        number = pending.pop()
        if number not in closed and number in by_id:
            closed.add(number)
            pending += by_id[number].depends_on
    return closed


@contextmanager
def open_archive(content: bytes, programs: PostgresPrograms, *, version: int) -> Iterator[SchemaArchive]:
    """Write an archive to a temporary file. `version` is the major version of the `pg_dump` that made it.

    Raises BackupRefused.
    """
    program = programs.find_program("pg_restore", minimum_version=version)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "schema"
        path.write_bytes(content)
        yield SchemaArchive(path, program)


def content_without_time(content: bytes) -> bytes:
    """Return an archive without its first bytes. The rest is the same for the same schema."""
    return content[HEADER_BYTES:]
