"""The monthly partitions of events, by `created_at`."""

from core.storage.partitions import MonthlyPartitions

event_partitions = MonthlyPartitions("analytics_event", months_ahead=3)
