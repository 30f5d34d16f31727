"""Months of events as partitions, made ahead; there is no default one, which could not be detached without
stopping writers.
"""

import re
from datetime import UTC, datetime

from django.db import DatabaseError, connection, transaction

PARENT = "analytics_event"
AHEAD = 3  # months beyond the current one
NAME = re.compile(r"^analytics_event_(\d{4})(\d{2})$")
_known: set[str] = set()


def month(moment: datetime, offset: int = 0) -> datetime:
    """The first instant of the month of `moment`, or of one `offset` months later."""
    number = moment.astimezone(UTC).year * 12 + moment.astimezone(UTC).month - 1 + offset
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def name_of(moment: datetime) -> str:
    return f"{PARENT}_{month(moment):%Y%m}"


def make(moment: datetime) -> bool:
    """Make the partition of a month; False when it is there.

    Attaching takes a lock that readers and writers do not wait for.
    """
    name = name_of(moment)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '2s'")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone()[0]:
            return False
        cursor.execute(f"CREATE TABLE {name} (LIKE {PARENT} INCLUDING ALL)")
        cursor.execute(
            f"ALTER TABLE {PARENT} ATTACH PARTITION {name} FOR VALUES FROM ('{month(moment).isoformat()}') TO ('{month(moment, 1).isoformat()}')"
        )
    return True


def ensure(moments: set[datetime]) -> None:
    """Make what is missing for these moments. No query for months that this process has seen."""
    missing = {month(moment) for moment in moments if name_of(moment) not in _known}
    for start in missing:
        make(start)
    names = {name_of(start) for start in missing}
    transaction.on_commit(lambda: _known.update(names))  # what is rolled back is not there


def forget_known() -> None:
    """Somebody may have dropped a partition: look again."""
    _known.clear()


def make_ahead(now: datetime) -> int:
    """Make what is missing of this month and the next `AHEAD`; return how many."""
    return sum(make(month(now, offset)) for offset in range(AHEAD + 1))


def existing() -> list[str]:
    """Names of the partitions, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass ORDER BY 1",
            [PARENT],
        )
        return [row[0] for row in cursor.fetchall()]


def drop_older(before: datetime) -> list[str]:
    """Detach and drop the months that ended before then; return their names.

    What an interrupted detach left is finished first.

    Detaching concurrently needs no transaction, so this must not be called in one. Raises DatabaseError.
    """
    gone = []
    for name in existing():
        found = NAME.match(name)
        if found and month(datetime(int(found[1]), int(found[2]), 1, tzinfo=UTC), 1) <= before:
            _detach(name)
            with connection.cursor() as cursor:
                cursor.execute(f"DROP TABLE {name}")
            _known.discard(name)
            gone.append(name)
    return gone


def _detach(name: str) -> None:
    with connection.cursor() as cursor:
        try:
            cursor.execute(f"ALTER TABLE {PARENT} DETACH PARTITION {name} CONCURRENTLY")
        except DatabaseError as error:
            if "already pending detach" not in str(error):
                raise
            cursor.execute(f"ALTER TABLE {PARENT} DETACH PARTITION {name} FINALIZE")
