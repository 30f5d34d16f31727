"""Prometheus metrics of the audit chain, read from its tables."""

from collections.abc import Iterator

from prometheus_client.core import Metric

from audit.chain import sealing
from audit.models import Checkpoint
from core.observability.store_metrics import gauge


def collect() -> Iterator[Metric]:
    """Yield the metric families. Two queries."""
    yield gauge(
        "audit_oldest_pending_seconds",
        "How long the oldest audit entry waits for its seal.",
        sealing.oldest_pending_seconds(),
    )
    yield gauge(
        "audit_checkpoints_waiting",
        "Signed checkpoints that the object store has not taken.",
        Checkpoint.objects.filter(stored_at=None).count(),
    )
