"""Gauges of one web process, which a thread of its own sets: the connection pool and the circuit breakers."""

import threading
import time

from django.db import connection

from core.observability import metrics
from core.storage import redis
from core.storage.postgresql import base as postgresql

EVERY_SECONDS = 5.0


def start() -> None:
    """Set the gauges every `EVERY_SECONDS` as long as this process runs."""
    threading.Thread(target=_run, name="process-gauges", daemon=True).start()


def _run() -> None:
    pool = connection.pool  # type: ignore[attr-defined]
    while True:
        if pool is not None:
            stats = pool.get_stats()
            size = stats.get("pool_size", 0)
            metrics.pool_connections.labels("all").set(size)
            metrics.pool_connections.labels("in use").set(size - stats.get("pool_available", 0))
            metrics.pool_waiting.set(stats.get("requests_waiting", 0))
        metrics.breaker_open.labels("postgresql").set(postgresql.breaker.is_open)
        metrics.breaker_open.labels("redis").set(redis.is_breaker_open())
        time.sleep(EVERY_SECONDS)
