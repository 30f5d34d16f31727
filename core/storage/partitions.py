"""Monthly range partitions of a table, made ahead of time.

There is no default partition: PostgreSQL could not detach it without blocking writers.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from django.db import DatabaseError, connection, transaction

LOCK_TIMEOUT = "2s"


def month_start(instant: datetime, months_later: int = 0) -> datetime:
    """Return the first instant, in UTC, of the month of `instant`, or of the month `months_later`."""
    instant = instant.astimezone(UTC)
    number = instant.year * 12 + instant.month - 1 + months_later
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


@dataclass
class MonthlyPartitions:
    """The partitions of the table `parent`, named `<parent>_<YYYYMM>`.

    `bound` gives the SQL literal of the partition key at the start of a month. `on_create` is SQL with
    `{name}` that each new partition needs beyond its parent's definition. The calls that create partitions
    are safe to repeat and to run in parallel.
    """

    parent: str
    months_ahead: int
    bound: Callable[[datetime], str] = datetime.isoformat
    on_create: str = ""
    _existing: set[str] = field(default_factory=set)

    def name_of(self, instant: datetime) -> str:
        """Return the name of the partition for `instant`."""
        return f"{self.parent}_{month_start(instant):%Y%m}"

    def create(self, instant: datetime) -> bool:
        """Create the partition of a month. Returns False when it exists.

        The table is attached after it is created, because readers and writers do not wait for that lock.
        """
        name = self.name_of(instant)
        low = self.bound(month_start(instant))
        high = self.bound(month_start(instant, 1))
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [name])
            cursor.execute("SELECT to_regclass(%s)", [name])
            if cursor.fetchone()[0]:
                return False
            cursor.execute(f"CREATE TABLE {name} (LIKE {self.parent} INCLUDING ALL)")
            cursor.execute(
                f"ALTER TABLE {self.parent} ATTACH PARTITION {name} FOR VALUES FROM ('{low}') TO ('{high}')"
            )
            if self.on_create:
                cursor.execute(self.on_create.format(name=name))
        return True

    def create_missing(self, instants: Iterable[datetime]) -> None:
        """Create the partitions of these instants. No query for partitions that this process has seen."""
        unseen = [instant for instant in instants if self.name_of(instant) not in self._existing]
        missing = {month_start(instant) for instant in unseen}
        for start in missing:
            self.create(start)
        names = {self.name_of(start) for start in missing}
        transaction.on_commit(lambda: self._existing.update(names))  # not what is rolled back

    def create_ahead(self, now: datetime) -> int:
        """Create this month's partition and the next `months_ahead`. Returns how many were missing."""
        return sum(self.create(month_start(now, offset)) for offset in range(self.months_ahead + 1))

    def names(self) -> list[str]:
        """Return the names of the existing partitions, oldest first."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
                "WHERE i.inhparent = %s::regclass ORDER BY c.relname",
                [self.parent],
            )
            return [row[0] for row in cursor.fetchall()]

    def drop_before(self, instant: datetime) -> list[str]:
        """Detach and drop the partitions of months that ended before `instant`. Returns their names.

        Detaching CONCURRENTLY is not allowed in a transaction, so this must not be called in one. A detach
        that was interrupted is finished first. Raises DatabaseError.
        """
        dropped = []
        for name in self.names():
            match = re.fullmatch(rf"{self.parent}_(\d{{4}})(\d{{2}})", name)
            if match and month_start(datetime(int(match[1]), int(match[2]), 1, tzinfo=UTC), 1) <= instant:
                self._detach(name)
                with connection.cursor() as cursor:
                    cursor.execute(f"DROP TABLE {name}")
                self._existing.discard(name)
                dropped.append(name)
        return dropped

    def forget_existing(self) -> None:
        """Forget which partitions this process has seen, because they may have been dropped."""
        self._existing.clear()

    def _detach(self, name: str) -> None:
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"ALTER TABLE {self.parent} DETACH PARTITION {name} CONCURRENTLY")
            except DatabaseError as error:
                if "already pending detach" not in str(error):
                    raise
                cursor.execute(f"ALTER TABLE {self.parent} DETACH PARTITION {name} FINALIZE")
