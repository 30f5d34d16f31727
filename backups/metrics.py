"""Prometheus metrics of backups.

The gauges hold times instead of ages, because an age would stand still when the worker stops.
"""

from prometheus_client import Counter, Gauge


def _gauge(name: str, description: str) -> Gauge:
    return Gauge(f"getyousite_backup_{name}", description, multiprocess_mode="mostrecent")


newest_good = _gauge(
    "newest_good_timestamp_seconds", "When the newest successful backup was taken; 0 without one."
)
newest_proven = _gauge(
    "newest_proven_timestamp_seconds",
    "When the newest backup was taken that a restore has proven; 0 without one.",
)
duration = _gauge("duration_seconds", "How long the newest backup took.")
shipped = _gauge("shipped_bytes", "Bytes that the newest backup sent to the store.")
stored = _gauge("stored_bytes", "Bytes in the store of the newest backup and the runs that it builds on.")
rows = _gauge("rows", "Rows in the newest backup.")
lock_wait = _gauge("lock_wait_seconds", "How long the newest backup waited for locks.")
failures = Counter(
    "getyousite_backup_failures_total", "Backups, checks and site restores that failed.", ["kind"]
)
drift = Counter(
    "getyousite_backup_drift_total",
    "Ranges whose stored content differs from the database; anything but 0 is a fault.",
)
