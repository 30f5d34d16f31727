"""Months of the trail as partitions, by bounds of UUIDv7 ids.

There is no default partition: they are made ahead.
"""

from datetime import UTC, datetime
from uuid import UUID

from django.db import connection

AHEAD = 12  # months that exist beyond the current one
PARENT = "audit_entry"


def month_start(year: int, month: int) -> datetime:
    """The first instant of a month; months beyond 12 run into the next years."""
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


def bound(moment: datetime) -> UUID:
    """The lowest UUIDv7 of a millisecond; of the nearest that one can have, for times before 1970 and after
    10889.
    """
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


def name_of(moment: datetime) -> str:
    return f"{PARENT}_{moment:%Y%m}"


def make_partition(moment: datetime) -> bool:
    """Make the partition of a month with its refusing trigger; False when it is there."""
    start = month_start(moment.year, moment.month)
    end = month_start(moment.year, moment.month + 1)
    name = name_of(start)
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0]:
            return False
        cursor.execute(
            f"CREATE TABLE {name} PARTITION OF {PARENT} FOR VALUES FROM ('{bound(start)}') TO ('{bound(end)}')"
        )
        cursor.execute(
            f"CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {name} EXECUTE FUNCTION audit_refuse()"
        )
    return True


def make_ahead(now: datetime) -> int:
    """Make what is missing of this month and the next `AHEAD`; return how many."""
    return sum(make_partition(month_start(now.year, now.month + offset)) for offset in range(AHEAD + 1))


def existing() -> list[str]:
    """Names of the partitions, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass ORDER BY c.relname",
            [PARENT],
        )
        return [row[0] for row in cursor.fetchall()]
