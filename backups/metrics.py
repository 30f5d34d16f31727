"""What Prometheus hears of backups.

Moments, not ages: an age would stand still with the process that tells it.
"""

from prometheus_client import Counter, Gauge

# Says where processes put their numbers, before the first one is made.
from core.observability import metrics  # noqa: F401


def _gauge(name: str, meaning: str) -> Gauge:
    return Gauge(f"getyousite_backup_{name}", meaning, multiprocess_mode="mostrecent")


newest_good = _gauge("newest_good_timestamp_seconds", "When the newest good backup was taken; 0 without one.")
newest_proven = _gauge(
    "newest_proven_timestamp_seconds",
    "When the newest backup was taken that a restore has proven; 0 without one.",
)
duration = _gauge("duration_seconds", "How long the newest backup took.")
shipped = _gauge("shipped_bytes", "What the newest backup sent to the store.")
stored = _gauge("stored_bytes", "What the store has of the newest backup and all that it builds on.")
rows = _gauge("rows", "Rows in the newest backup.")
waited = _gauge("lock_wait_seconds", "How long the newest backup waited for locks.")
failures = Counter(
    "getyousite_backup_failures_total", "Backups, looks and site restores that failed.", ["kind"]
)
drift = Counter(
    "getyousite_backup_drift_total",
    "Ranges whose stored content is not what the database has; anything but 0 is a fault.",
)
