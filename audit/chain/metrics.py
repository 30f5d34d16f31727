"""Prometheus metrics of the audit chain."""

import os
from django.conf import settings
from prometheus_client import REGISTRY as _PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess


audit_oldest_pending = Gauge(
    "getyousite_audit_oldest_pending_seconds",
    "How long the oldest audit entry waits for its seal.",
    multiprocess_mode="max",
)


checkpoints_waiting = Counter(
    "getyousite_audit_checkpoints_waiting_total", "Times the object store did not take an audit checkpoint."
)
