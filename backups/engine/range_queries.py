"""The SQL statements that read one block range of a table.

A range is `BLOCKS_PER_RANGE` consecutive blocks. PostgreSQL 14 and newer reads it with a TID range scan, so
the cost does not depend on the size of the table.
"""

from collections.abc import Iterator
from select import select
from typing import Any

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

from backups.engine.source import TableInfo, row_hash_sum

Connection = psycopg.Connection[Any]
BLOCKS_PER_RANGE = 1024  # 8 MiB with the default block size of 8 KiB
COPY_BLOCK_BYTES = 1 << 18  # rows are compressed in blocks of about this size
SOCKET_WAIT_SECONDS = 60

# A fingerprint identifies the row versions in a range by (ctid, xmin). We do not hash the content, because a
# row version never changes. PostgreSQL cannot cast xmin to a number, so we use its age relative to
# transaction id 3. This is twice as fast as hashing ctid and xmin separately. Once in two billion
# transactions every fingerprint changes, and every list of ctids is stored again.
XMIN_NUMBER = "(SELECT age('3'::xid)::bigint + 3) - age(xmin)"
FINGERPRINT = sql.SQL(f"count(*), coalesce(bit_xor(hashtidextended(ctid, {XMIN_NUMBER})), 0)")
CTIDS = sql.SQL("string_agg(tidsend(ctid), ''::bytea)")


def count_blocks(connection: Connection, table: TableInfo) -> int:
    """Return the number of blocks of the table's main fork."""
    statement = "SELECT pg_relation_size(%s::oid) / current_setting('block_size')::int"
    row = connection.execute(statement, [table.oid]).fetchone()
    return int(row[0]) if row else 0


def range_condition(table: TableInfo, number: int) -> sql.Composable:
    """Return the WHERE condition that selects range `number`.

    A table whose access method is not heap has a single range with all its rows.
    """
    if not table.heap:
        return sql.SQL("true")
    first = sql.Literal(f"({number * BLOCKS_PER_RANGE},0)")
    end = sql.Literal(f"({(number + 1) * BLOCKS_PER_RANGE},0)")
    return sql.SQL("ctid >= {}::tid AND ctid < {}::tid").format(first, end)


def fetch_fingerprint(connection: Connection, table: TableInfo, condition: sql.Composable) -> tuple[int, int]:
    """Return the row count and a hash over the (ctid, xmin) of the matching rows."""
    count, version_hash = _fetch_row(
        connection,
        "SELECT {fingerprint} FROM ONLY {table} WHERE {condition}",
        fingerprint=FINGERPRINT,
        table=table.ref,
        condition=condition,
    )
    return int(count), int(version_hash)


def fetch_hash_sum(connection: Connection, table: TableInfo, condition: sql.Composable) -> int:
    """Return the sum of the content hashes of the matching rows."""
    (hash_sum,) = _fetch_row(
        connection,
        "SELECT {hash_sum} FROM ONLY {table} WHERE {condition}",
        hash_sum=row_hash_sum(table.all_columns),
        table=table.ref,
        condition=condition,
    )
    return int(hash_sum)


def fetch_range_state(
    connection: Connection, table: TableInfo, condition: sql.Composable, *, hash_rows: bool
) -> tuple[tuple[int, int], bytes, int | None]:
    """Return the fingerprint, the ctids (6 bytes each) and the content hash sum, all read in one scan.

    Without `hash_rows` there is no hash sum.
    """
    count, version_hash, ctids, hash_sum = _fetch_row(
        connection,
        "SELECT {fingerprint}, {ctids}, {hash_sum} FROM ONLY {table} WHERE {condition}",
        fingerprint=FINGERPRINT,
        ctids=CTIDS,
        hash_sum=row_hash_sum(table.all_columns) if hash_rows else sql.NULL,
        table=table.ref,
        condition=condition,
    )
    return (int(count), int(version_hash)), bytes(ctids or b""), int(hash_sum) if hash_rows else None


def fetch_changed_ctids(
    connection: Connection,
    table: TableInfo,
    condition: sql.Composable,
    is_new: sql.Composable,
    *,
    hash_rows: bool,
) -> tuple[bytes, bytes, int | None]:
    """Return the ctids of all matching rows, the ctids of those that satisfy `is_new`, and the hash sum.

    One scan reads all three. Without `hash_rows` there is no hash sum.
    """
    ctids, new_ctids, hash_sum = _fetch_row(
        connection,
        "SELECT {ctids}, {ctids} FILTER (WHERE {is_new}), {hash_sum} FROM ONLY {table} WHERE {condition}",
        ctids=CTIDS,
        is_new=is_new,
        hash_sum=row_hash_sum(table.all_columns) if hash_rows else sql.NULL,
        table=table.ref,
        condition=condition,
    )
    return bytes(ctids or b""), bytes(new_ctids or b""), int(hash_sum) if hash_rows else None


def copy_blocks(connection: Connection, statement: sql.Composed) -> Iterator[bytes]:
    """Run a COPY TO STDOUT statement and yield blocks of whole rows, each about COPY_BLOCK_BYTES long.

    Each row is one protocol message, and most rows are short. The loop therefore calls libpq directly, which
    takes a fifth of the time of psycopg's own iteration. Raises psycopg.Error.
    """
    rows: list[memoryview] = []
    size = 0
    with connection.cursor() as cursor, cursor.copy(statement):
        server = connection.pgconn
        socket = connection.fileno()
        get_copy_data = server.get_copy_data
        while (message := get_copy_data(1))[0] >= 0:
            length, data = message
            if length:
                rows.append(data)
                size += length
                if size > COPY_BLOCK_BYTES:
                    yield b"".join(rows)
                    rows = []
                    size = 0
            else:
                select([socket], [], [], SOCKET_WAIT_SECONDS)
                server.consume_input()
        while result := server.get_result():
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)
    yield b"".join(rows)


def _fetch_row(connection: Connection, statement: str, **parts: sql.Composable) -> tuple[Any, ...]:
    row = connection.execute(sql.SQL(statement).format(**parts), binary=True).fetchone()
    assert row is not None
    return tuple(row)
