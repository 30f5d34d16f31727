"""The monthly partitions of audit entries, by bounds of their UUIDv7 ids."""

from datetime import datetime
from uuid import UUID

from core.storage.partitions import MonthlyPartitions


def lowest_id(moment: datetime) -> UUID:
    """Return the lowest UUIDv7 of a millisecond; moments that UUIDv7 cannot express get the nearest one it can."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=min(max(milliseconds, 0), 2**48 - 1) << 80)


entry_partitions = MonthlyPartitions(
    "audit_entry",
    months_ahead=12,
    bound=lambda moment: str(lowest_id(moment)),
    on_create="CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON {name} EXECUTE FUNCTION audit_refuse()",
)
