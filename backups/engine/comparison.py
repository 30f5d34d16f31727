"""Comparing a restored database with the backup and with the source.

The rows are compared with sums of hashes that the source computed, and for some tables cell by cell. The
structure is compared by `pg_dump` and by counts of the catalogue, which do not depend on how the restore made
it.
"""

import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from backups.engine.errors import BackupRefused, Damaged, StructureDiffers
from backups.engine.manifest import Manifest, Table
from backups.engine.packs import PackReader
from backups.engine.range_queries import copy_blocks
from backups.engine.row_extraction import iter_range_rows
from backups.engine.schema import catalogue
from backups.engine.schema.archive import SchemaArchive, open_archive
from backups.engine.schema.postgres_programs import PostgresPrograms, dump_schema, program_version
from backups.engine.source import row_hash_sum

Connection = psycopg.Connection[Any]
SAMPLE_TABLES = 5  # compared cell by cell
SAMPLE_MAX_ROWS = 100_000
MAX_DIFFERENCES = 3  # in a message
MAX_LINE_LENGTH = 160

INVALID_INDEXES_QUERY = f"""
SELECT n.nspname, c.relname
FROM pg_index x
JOIN pg_class c ON c.oid = x.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT x.indisvalid AND c.relkind = 'i' AND {catalogue.IS_USER_SCHEMA}
ORDER BY 1, 2"""

COLUMNS_QUERY = """
SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"""

# PostgreSQL can print casts and brackets differently after it parsed its own output again.
CAST_PATTERN = re.compile(
    r"::(?:\"[^\"]*\"|[a-z_]\w*)(?:\.(?:\"[^\"]*\"|[a-z_]\w*))?(?: [a-z]+)*(?:\(\d+(?:,\d+)?\))?(?:\[\])*"
)
# Comments that pg_restore writes above a statement. A `public` that was created again has only them.
HEADER_PATTERN = re.compile(r"--$|-- (?:Dumped |Name: |\*not\* creating )")
# The number `pg_attver`, which servers since 15.20 keep for each column, and which older programs print.
COLUMN_VERSION_PATTERN = re.compile(r"ALTER TABLE ONLY .* SET \(pg_attver=\d+\);$")
BRACKET_PATTERN = re.compile(r"[()\s]+")


# --- rows ---


def group_tables(tables: Iterable[Table], *, by_target: bool) -> list[list[Table]]:
    """Return the tables in groups. The partitions of a table through which rows are loaded are one group."""
    groups: dict[Any, list[Table]] = defaultdict(list)
    for table in tables:
        groups[(table.load_into if by_target else None) or table.name].append(table)
    return list(groups.values())


def is_provable(tables: list[Table]) -> bool:
    """Whether the rows of all these tables were hashed."""
    return all(table.checksum is not None for table in tables)


def have_same_content(connection: Connection, tables: list[Table]) -> bool:
    """Compare the number of rows and the sum of their hashes with those of the backup."""
    expected = [table.checksum for table in tables if table.checksum is not None]
    rows = hash_sum = 0
    for table in tables:
        name = sql.Identifier(*table.name)
        columns = connection.execute(COLUMNS_QUERY, [name.as_string()]).fetchall()
        checksum = row_hash_sum(row[0] for row in columns)
        statement = sql.SQL("SELECT count(*), {} FROM ONLY {}").format(checksum, name)
        row = connection.execute(statement).fetchone()
        assert row is not None
        rows += int(row[0])
        hash_sum += int(row[1])
    return (rows, hash_sum) == (sum(count for count, _ in expected), sum(total for _, total in expected))


def sample_groups(groups: list[list[Table]]) -> list[list[Table]]:
    """Return up to SAMPLE_TABLES random groups that have rows, but not too many."""
    candidates = [tables for tables in groups if 0 < sum(table.rows for table in tables) <= SAMPLE_MAX_ROWS]
    return random.sample(candidates, min(SAMPLE_TABLES, len(candidates)))


def compare_cells(connection: Connection, reader: PackReader, tables: list[Table]) -> None:
    """Compare every cell with the rows in the backup. Raises Damaged, which names table and column."""
    stored: Counter[bytes] = Counter()
    restored: Counter[bytes] = Counter()
    for table in tables:
        for block_range in table.ranges:
            if block_range.row_count:
                stored.update(_iter_lines(iter_range_rows(reader, table, block_range)))
        columns = sql.SQL(", ").join(map(sql.Identifier, table.columns))
        statement = sql.SQL("COPY (SELECT {} FROM ONLY {}) TO STDOUT").format(
            columns, sql.Identifier(*table.name)
        )
        restored.update(_iter_lines(copy_blocks(connection, statement)))
    if stored != restored:
        missing = sorted((stored - restored).elements())
        unexpected = sorted((restored - stored).elements())
        raise Damaged(
            f"{tables[0].label} differs from the backup: {len(missing)} rows are missing and"
            f" {len(unexpected)} are not in it{_name_column(tables[0], missing, unexpected)}."
        )


def _name_column(table: Table, missing: list[bytes], unexpected: list[bytes]) -> str:
    """Return which column differs when one row was replaced by one other row."""
    if len(missing) != 1 or len(unexpected) != 1:
        return ""
    cells = zip(table.columns, missing[0].split(b"\t"), unexpected[0].split(b"\t"), strict=False)
    names = [name for name, before, after in cells if before != after]
    return f"; they differ in {', '.join(names)}"


def _iter_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    incomplete_line = b""
    for block in blocks:
        lines = (incomplete_line + block).split(b"\n")
        incomplete_line = lines.pop()
        yield from lines


# --- structure ---


def compare_structure(
    manifest: Manifest, archive_content: bytes, dsn: str, *, programs: PostgresPrograms
) -> str:
    """Compare the structure of a restored database with that of the source.

    Returns what was compared, in words. Raises StructureDiffers, BackupRefused.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        invalid = connection.execute(INVALID_INDEXES_QUERY).fetchall()
        server_version = connection.info.server_version // 10000
        objects = catalogue.count_objects(connection)
    if invalid:
        raise StructureDiffers(
            f"Indexes of the restored database are not valid: {catalogue.join_names(invalid)}."
        )
    if server_version != manifest.cluster["version"] // 10000:
        raise BackupRefused(
            "A restore on a server of another major version cannot be compared with its source."
        )
    _compare_counts(manifest.schema.catalogue["objects"], objects)
    program = programs.find_program("pg_dump", minimum_version=manifest.schema.program_version)
    restored_content = dump_schema(program, dsn)
    with (
        open_archive(archive_content, programs, version=manifest.schema.program_version) as source,
        open_archive(restored_content, programs, version=program_version(program)) as restored,
    ):
        _compare_scripts(_script_lines(source), _script_lines(restored))
    return f"{sum(objects.values()):,} objects and the output of pg_dump are equal."


def _compare_counts(source: dict[str, int], restored: dict[str, int]) -> None:
    """Raise StructureDiffers unless there are as many objects of each kind."""
    differences = [
        f"{kind}: {source.get(kind, 0)} before, {restored.get(kind, 0)} after"
        for kind in sorted({*source, *restored})
        if source.get(kind, 0) != restored.get(kind, 0)
    ]
    if differences:
        raise StructureDiffers(
            "The restored database does not have the same objects. "
            + "; ".join(differences[:MAX_DIFFERENCES])
            + "."
        )


def _script_lines(archive: SchemaArchive) -> "Counter[str]":
    script = archive.script(server_version=0)
    return Counter(
        line
        for line in script.splitlines()
        if line and not HEADER_PATTERN.match(line) and not COLUMN_VERSION_PATTERN.match(line)
    )


def _compare_scripts(source: "Counter[str]", restored: "Counter[str]") -> None:
    """Raise StructureDiffers unless both have the same lines, except casts and brackets."""
    missing = {_normalize(line): line for line in source - restored}
    unexpected = {_normalize(line): line for line in restored - source}
    differences = [f"missing: {missing[form]}" for form in missing.keys() - unexpected.keys()]
    differences += [f"unexpected: {unexpected[form]}" for form in unexpected.keys() - missing.keys()]
    if differences:
        shortened = "; ".join(line[:MAX_LINE_LENGTH] for line in differences[:MAX_DIFFERENCES])
        raise StructureDiffers(f"The restored database has another structure. {shortened}")


def _normalize(line: str) -> str:
    """Return a line without casts, brackets and spaces."""
    return BRACKET_PATTERN.sub("", CAST_PATTERN.sub("", line))
