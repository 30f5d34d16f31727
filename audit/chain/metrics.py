"""Prometheus metrics of the audit chain."""

from prometheus_client import Counter, Gauge

audit_oldest_pending = Gauge(
    "getyousite_audit_oldest_pending_seconds",
    "How long the oldest audit entry waits for its seal.",
    multiprocess_mode="max",
)
checkpoints_waiting = Counter(
    "getyousite_audit_checkpoints_waiting_total", "Times the object store did not take an audit checkpoint."
)
