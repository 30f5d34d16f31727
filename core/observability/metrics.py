"""Prometheus metrics of web processes: what each of them counts, and what they read from the stores.

Each process counts in files below RUNTIME_FOLDER (`core.observability.runtime_folder`), and `exposition()`
adds them up over all processes of this `manage.py serve`.
"""

import os
from functools import cache
from pathlib import Path

from prometheus_client import REGISTRY as _PROCESS_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

from core.observability import metric_files, runtime_folder

metric_files.install()
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

requests = Counter(
    "getyousite_requests_total", "HTTP requests answered by the application.", ["method", "route", "status"]
)
seconds = Histogram("getyousite_request_seconds", "Time to answer, by route.", ["route"], buckets=BUCKETS)
pages = Counter("getyousite_pages_total", "Published pages by where they came from.", ["source"])
refusals = Counter("getyousite_refusals_total", "Refused requests by problem code.", ["code"])
dropped_events = Counter(
    "getyousite_events_dropped_total", "Events of visits that were not counted, by reason.", ["reason"]
)
lost_invalidations = Counter("getyousite_lost_touches_total", "Invalidations that Redis did not take.")
breaker_open = Gauge(
    "getyousite_breaker_open",
    "Processes that do not ask a store now, because it did not answer a moment ago.",
    ["store"],
    multiprocess_mode="livesum",
)
pool_connections = Gauge(
    "getyousite_database_pool_connections",
    "Database connections of the web processes: all, and those that are in use.",
    ["state"],
    multiprocess_mode="livesum",
)
pool_waiting = Gauge(
    "getyousite_database_pool_waiting",
    "Requests that wait for a database connection.",
    multiprocess_mode="livesum",
)


@cache
def _request_counter(method: str, route: str, status: int) -> Counter:
    return requests.labels(method, route, status)


@cache
def _request_seconds(route: str) -> Histogram:
    return seconds.labels(route)


def count_request(method: str, route: str, status: int, elapsed: float) -> None:
    """Count an answer and its time in seconds. The number of methods, routes and statuses is bounded."""
    _request_counter(method, route, status).inc()
    _request_seconds(route).observe(elapsed)


def exposition() -> bytes:
    """Return the metrics of all processes in the Prometheus text format."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest(_PROCESS_REGISTRY)
    runtime_folder.delete_gauges_of_ended_processes(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
