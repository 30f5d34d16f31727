"""Some rows of a run, without restoring it: those of a table whose column says something."""

from collections.abc import Iterator

from backups.engine.manifest import Table
from backups.engine.packs import PackReader
from backups.engine.restore import rows_of


def rows(reader: PackReader, table: Table, *, column: str, value: bytes) -> Iterator[list[bytes]]:
    """The fields of each row of `table` whose `column` is `value`, in COPY's text form and the order of
    `table.columns`. Raises Damaged.
    """
    place = table.columns.index(column)
    for one in table.ranges:
        if not one.mark[0]:
            continue
        rest = b""
        for block in rows_of(reader, table, one):
            lines = (rest + block).split(b"\n")
            rest = lines.pop()
            for line in lines:
                fields = line.split(b"\t")  # a tab within a value is written as \t
                if fields[place] == value:
                    yield fields
