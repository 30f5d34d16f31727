"""The monthly partitions of audit entries, by bounds of their UUIDv7 ids."""

from datetime import datetime
from uuid import UUID

from core.storage.partitions import MonthlyPartitions


def lowest_id(instant: datetime) -> UUID:
    """Return the lowest UUIDv7 of a millisecond.

    Times outside the range of UUIDv7 (1970 to 10889) get the nearest UUIDv7.
    """
    milliseconds = int(instant.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


entry_partitions = MonthlyPartitions(
    "audit_entry",
    months_ahead=12,
    bound=lambda instant: str(lowest_id(instant)),
    on_create="CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {name} EXECUTE FUNCTION audit_refuse()",
)
