"""Names of tables: a schema and a table, which may both contain dots."""

import re
from typing import NamedTuple

from backups.engine.errors import BackupRefused

SIMPLE_NAME = re.compile(r"[a-z_][a-z0-9_$]*")
NAME_PATTERN = re.compile(r'"(?:[^"]|"")+"|[^",.\s]+')
DEFAULT_SCHEMA = "public"


class TableName(NamedTuple):
    """The identity of a table in a database."""

    schema: str
    table: str


def format_table_name(name: tuple[str, str]) -> str:
    """Return the name as in SQL, such as `public.page` or `"shop"."de.item"`. Different names differ."""
    return ".".join(
        part if SIMPLE_NAME.fullmatch(part) else '"{}"'.format(part.replace('"', '""')) for part in name
    )


def parse_table_names(text: str) -> list[TableName]:
    """Parse names that are separated by commas. Without a schema it is `public`. Raises BackupRefused."""
    names: list[TableName] = []
    position = 0
    while position <= len(text):
        parts, position = _parse_parts(text, position)
        if not 1 <= len(parts) <= 2:
            raise BackupRefused(f"{text!r} is not a list of tables. Name them as schema.table.")
        names.append(TableName(*([DEFAULT_SCHEMA, *parts][-2:])))
        position += 1  # the comma
    return names


def _parse_parts(text: str, position: int) -> tuple[list[str], int]:
    """Return the parts of the name at a position, and the position behind it."""
    parts: list[str] = []
    while match := NAME_PATTERN.match(text, position):
        part = match[0]
        parts.append(part[1:-1].replace('""', '"') if part[0] == '"' else part)
        position = match.end()
        if text[position : position + 1] in {"", ","}:
            return parts, position
        if text[position] != ".":
            break
        position += 1
    return [], position
