"""Reading rows of a run: all rows of a range, or the rows of a table that have a value in a column.

Rows are in the text format of COPY. Nothing is restored.
"""

from collections.abc import Iterator
from itertools import compress

from backups.engine.errors import Damaged
from backups.engine.manifest import BlockRange, Part, Table, unshuffle_ctids
from backups.engine.packs import PackReader


def iter_matching_rows(
    reader: PackReader, table: Table, *, column: str, value: bytes
) -> Iterator[list[bytes]]:
    """Yield the fields of each row whose `column` equals `value`, in the order of `table.columns`.

    Fields and `value` are in the text format of COPY. Raises Damaged, KeyMissing.
    """
    column_index = table.columns.index(column)
    for block_range in table.ranges:
        if not block_range.row_count:
            continue
        incomplete_line = b""
        for block in iter_range_rows(reader, table, block_range):
            lines = (incomplete_line + block).split(b"\n")
            incomplete_line = lines.pop()
            for line in lines:
                fields = line.split(b"\t")  # COPY writes a tab inside a value as \t
                if fields[column_index] == value:
                    yield fields


def iter_range_rows(reader: PackReader, table: Table, block_range: BlockRange) -> Iterator[bytes]:
    """Yield the rows of a range as COPY text, in blocks.

    A row is taken from the newest part that has its ctid. Raises Damaged when a live row is in no part, and
    KeyMissing.
    """
    if block_range.live_ctids is None:
        yield from reader.iter_blocks(block_range.parts[0].rows)
        return
    remaining = set(unshuffle_ctids(reader.read_chunk(block_range.live_ctids)))
    if len(remaining) != block_range.row_count:
        raise Damaged(f"The list of rows of {table.label} does not have as many as were counted.")
    for part in reversed(block_range.parts):
        if not remaining:
            return
        ctids = unshuffle_ctids(reader.read_chunk(part.ctids))
        # 1 for each row that was neither deleted nor replaced by a newer part.
        selected = bytes(map(remaining.__contains__, ctids))
        remaining.difference_update(ctids)
        if any(selected):
            yield from _iter_selected_rows(reader, part, selected)
    if remaining:
        raise Damaged(f"{len(remaining)} rows of {table.label} are in no part of its chain.")


def _iter_selected_rows(reader: PackReader, part: Part, selected: bytes) -> Iterator[bytes]:
    """Yield the rows of a part whose byte in `selected` is 1. Raises Damaged."""
    incomplete_line = b""
    position = 0
    for block in reader.iter_blocks(part.rows):
        lines = (incomplete_line + block).split(b"\n")
        incomplete_line = lines.pop()
        selectors = selected[position : position + len(lines)]
        position += len(lines)
        yield b"\n".join([*compress(lines, selectors), b""])
    if incomplete_line or position != len(selected):
        raise Damaged("A part has a different number of rows and ctids.")
