"""Prometheus metrics of every process.

Each process writes its values to files in METRICS_DIR. `exposition()` adds them up over all processes.
"""

import os

from prometheus_client import REGISTRY as _PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

requests = Counter(
    "getyousite_requests_total", "HTTP requests answered by the application.", ["method", "route", "status"]
)
seconds = Histogram("getyousite_request_seconds", "Time to answer, by route.", ["route"], buckets=BUCKETS)
pages = Counter("getyousite_pages_total", "Published pages by where they came from.", ["source"])
refusals = Counter("getyousite_refusals_total", "Refused requests by problem code.", ["code"])
jobs = Counter("getyousite_jobs_total", "Jobs by kind and how they ended.", ["kind", "outcome"])
lost_invalidations = Counter("getyousite_lost_touches_total", "Invalidations that Redis did not take.")


def exposition() -> bytes:
    """Return the metrics of all processes in the Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_PROCESS_REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
