"""Prometheus metrics of the Redis streams in which events wait for the writer.

Written entries stay in their stream for ten minutes (`writer.STREAM_RETENTION`), so that the length of a
stream does not say how many events wait. The age of the oldest unwritten entry says whether the writer keeps
up, and the length says how close a stream is to the limits from which events are dropped.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import Metric
from redis import Redis

from analytics.ingest import stream
from analytics.models import Cursor
from core.observability.store_metrics import gauge, labelled_gauge
from core.storage import redis


def collect() -> Iterator[Metric]:
    """Yield the metric families. One query and one round trip to Redis. Raises RedisUnavailable."""
    yield gauge(
        "event_stream_max_entries",
        "Entries of one stream from which engagements are dropped; all events at four times as many.",
        stream.SHED_ENGAGEMENTS_AT_ENTRIES,
    )
    lengths, ages = _measure_streams(Cursor.objects.in_bulk())
    yield labelled_gauge(
        "event_stream_entries",
        "Entries of each stream of events: unwritten ones, and those written in the last ten minutes.",
        ["shard"],
        [([str(shard)], length) for shard, length in enumerate(lengths)],
    )
    yield labelled_gauge(
        "event_oldest_waiting_seconds",
        "How long the oldest unwritten event of each stream has waited; 0 without one.",
        ["shard"],
        [([str(shard)], age) for shard, age in enumerate(ages)],
    )


def _measure_streams(cursors: dict[Any, Cursor]) -> tuple[list[int], list[float]]:
    """Return the length of each stream, and the age in seconds of its oldest entry after the saved position.

    Ages are by the clock of Redis, which also made the ids of the entries. Raises RedisUnavailable.
    """
    positions = [cursors.get(shard, Cursor(shard=shard)) for shard in range(stream.SHARDS)]

    def read_streams(client: Redis) -> list[Any]:
        with client.pipeline(transaction=True) as pipe:
            pipe.time()
            for cursor in positions:
                key = stream.stream_key(cursor.shard)
                pipe.hget(stream.state_key(cursor.shard), "epoch")
                pipe.xlen(key)
                pipe.xrange(key, count=1)
                pipe.xrange(key, min=f"({cursor.last_id}", count=1)
            return list(pipe.execute())

    (seconds, microseconds), *results = redis.call(read_streams)
    now = seconds + microseconds / 1_000_000
    lengths = results[1::4]
    ages = []
    for cursor, epoch, first, next_entries in zip(
        positions, results[0::4], results[2::4], results[3::4], strict=True
    ):
        # After a loss of the data of Redis the writer begins at the first entry (`writer._read_entries`).
        is_lost = bool(cursor.epoch and epoch and epoch.decode() != cursor.epoch)
        entries = first if is_lost else next_entries
        ages.append(max(0.0, now - int(entries[0][0].split(b"-")[0]) / 1000) if entries else 0.0)
    return lengths, ages
