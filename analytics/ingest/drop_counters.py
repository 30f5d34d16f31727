"""Counts the events that were not stored, by hour, site and reason, so that owners see what is missing.

Web processes count in Redis, in hashes `drops:<hour>` with the fields `site number:reason`. A periodic task
copies them to PostgreSQL.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import connection

from core.observability import metrics
from core.storage import redis

KEY = "drops"
TTL_SECONDS = 48 * 3600
COPIED_HOURS = 3  # the current hour and the two before it
LOST = "lost"

log = structlog.get_logger(__name__)


def _hour_key(hour: datetime) -> str:
    return f"{KEY}:{hour:%Y%m%d%H}"


def count_drops(site_number: int, drops: Counter[str]) -> None:
    """Add dropped events to the metrics of this process, and to the counters of this hour in Redis.

    The counters in Redis are those that owners see. They miss the events of times when it is unavailable.
    """
    if not drops:
        return
    for reason, count in drops.items():
        metrics.dropped_events.labels(reason).inc(count)
    key = _hour_key(datetime.now(UTC))

    def increment(client: Any) -> None:
        with client.pipeline(transaction=False) as pipe:
            for reason, count in drops.items():
                pipe.hincrby(key, f"{site_number}:{reason}", count)
            pipe.expire(key, TTL_SECONDS)
            pipe.execute()

    try:
        redis.call(increment)
    except redis.RedisUnavailable:
        log.warning("drops_not_counted", site=site_number)


def copy_to_database(*, now: datetime) -> None:
    """Copy the counters of the last hours from Redis to PostgreSQL. Raises RedisUnavailable.

    Counters never decrease. The larger number is stored, so it does not matter how often they are copied.
    """
    for hours in range(COPIED_HOURS):
        hour = _start_of_hour(now - timedelta(hours=hours))
        key = _hour_key(hour)
        counters: dict[bytes, bytes] = redis.call(lambda client, key=key: client.hgetall(key))  # type: ignore[misc]
        counts = []
        for field, count in counters.items():
            site_number, reason = field.decode().split(":", 1)
            counts.append((int(site_number), reason, int(count)))
        _store(hour, counts, merge="greatest(analytics_drop.count, EXCLUDED.count)")


def add_lost_events(counts: Counter[int], *, now: datetime) -> None:
    """Add accepted events that were lost with the memory of Redis, by site number. Raises DatabaseError."""
    rows = [(site_number, LOST, count) for site_number, count in counts.items()]
    _store(_start_of_hour(now), rows, merge="analytics_drop.count + EXCLUDED.count")


def _start_of_hour(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _store(hour: datetime, rows: list[tuple[int, str, int]], *, merge: str) -> None:
    """Store rows of site number, reason and count. `merge` is the SQL for a row that exists."""
    if not rows:
        return
    statement = f"""
        INSERT INTO analytics_drop (site_number, hour, reason, count)
        SELECT site_number, %s, reason, count
        FROM unnest(%s::int[], %s::text[], %s::bigint[]) AS counters(site_number, reason, count)
        ON CONFLICT (site_number, hour, reason) DO UPDATE SET count = {merge}"""  # noqa: S608 - our own SQL
    with connection.cursor() as cursor:
        cursor.execute(statement, [hour, *(list(column) for column in zip(*rows, strict=True))])
