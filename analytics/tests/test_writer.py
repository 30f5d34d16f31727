"""The writer stores each event exactly once, also when it is killed or when Redis loses its data."""

import json
import os
import random
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from analytics.ingest import stream, writer
from analytics.ingest.stream import Event
from analytics.models import Cursor, Kind, Term
from analytics.partitions import event_partitions
from analytics.tests.helpers import (
    build_page_view,
    count_events,
    count_rows,
    drain_all_shards,
    page_view,
    send_to_intake,
)
from core.storage import redis

pytestmark = pytest.mark.django_db
KILL_COUNT = 1_000 if os.environ.get("SOAK") else 30


def test_drain_shard_writes_each_event_once(site):
    events = [
        build_page_view(site.number, count + 1, visitor=count % 7, page=f"/{count % 3}\t\\N")
        for count in range(100)
    ]

    assert [result.outcome for result in stream.append_events(events)] == ["ok"] * 100
    assert [result.outcome for result in stream.append_events(events[:10])] == ["duplicate"] * 10
    assert drain_all_shards() == 100
    assert drain_all_shards() == 0
    assert count_rows(site) == (100, 100, 7)


def test_drain_shard_preserves_properties(site):
    properties = {"tab\t": "line\nback\\slash \\N", "ünï": 1.5, "yes": True}
    stream.append_events(
        [
            Event(
                site.number,
                Kind.CUSTOM,
                "/",
                id=1,
                name="Sign\\up",
                props=properties,
                value="12.500",
                currency="EUR",
            )
        ]
    )
    drain_all_shards()

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT props, value, currency FROM analytics_event WHERE site_number = %s", [site.number]
        )
        (props, value, currency) = cursor.fetchone()
    assert (json.loads(props) if isinstance(props, str) else props, str(value), currency) == (
        properties,
        "12.500",
        "EUR",
    )
    assert Term.objects.get(site_number=site.number, sort=Term.Sort.EVENT).text == "Sign\\up"


def drain_in_subprocess():
    """Runs in a subprocess that the test may kill."""
    return drain_all_shards()


@pytest.mark.commits
def test_drain_shard_writes_each_event_once_when_killed_at_any_time(site, child_process_runner):
    sent_count = 0
    seconds = 0.1
    random.seed(8)
    for _ in range(KILL_COUNT):
        count = random.randint(1, 40)
        stream.append_events(
            [
                build_page_view(
                    site.number, sent_count + n + 1, visitor=random.randint(1, 50), page=f"/{sent_count + n}"
                )
                for n in range(count)
            ]
        )
        sent_count += count
        child_process_runner.run(drain_in_subprocess, kill_after=random.uniform(0, 2 * seconds))
        if random.random() < 0.1:
            seconds, _ = child_process_runner.run(drain_in_subprocess)
    drain_all_shards()

    assert count_rows(site)[:2] == (sent_count, sent_count)
    assert sum(cursor.written for cursor in Cursor.objects.all()) == sent_count


def test_drain_shard_reads_from_the_beginning_after_redis_lost_its_data(site):
    stream.append_events([build_page_view(site.number, count + 1, visitor=4) for count in range(10)])
    drain_all_shards()
    stream.append_events([build_page_view(site.number, 100, visitor=4)])  # never read
    redis.client().flushdb()
    entry = {"e": build_page_view(site.number, 11, visitor=4).to_json(), "v": "7", "g": "another", "s": 1}
    redis.client().xadd(stream.stream_key(0), entry, id="5-1")  # an id before the cursor
    redis.client().hset(stream.state_key(0), "epoch", "another")

    assert drain_all_shards() == 1
    assert drain_all_shards() == 0
    assert count_rows(site)[:2] == (11, 11)


def test_drain_shard_skips_entries_before_the_cursor(site):
    stream.append_events([build_page_view(site.number, count + 1, visitor=8) for count in range(10)])
    entries = redis.client().xrange(stream.stream_key(0))
    drain_all_shards()
    assert redis.client().xlen(stream.stream_key(0)) == 10, "entries stay for a standby of PostgreSQL"

    assert drain_all_shards() == 0
    assert (len(entries), count_rows(site)[0]) == (10, 10)


def test_drain_shard_trims_entries_after_the_stream_retention(site, monkeypatch):
    stream.append_events([build_page_view(site.number, count + 1, visitor=8) for count in range(10)])
    drain_all_shards()
    monkeypatch.setattr(writer, "STREAM_RETENTION", timedelta(0))
    stream.append_events([build_page_view(site.number, 11, visitor=8)])
    drain_all_shards()

    assert redis.client().xlen(stream.stream_key(0)) <= 1


@pytest.mark.commits
def test_drain_shard_creates_a_missing_partition(site):
    old_month = datetime(2019, 2, 3, 4, 5, tzinfo=UTC)
    stream.append_events([build_page_view(site.number, 1, visitor=8, at=old_month)])

    assert drain_all_shards() == 1
    assert "analytics_event_201902" in event_partitions.names()
    assert event_partitions.create(old_month) is False
    assert "analytics_event_201902" in event_partitions.drop_before(datetime(2019, 3, 1, tzinfo=UTC))
    assert "analytics_event_201902" not in event_partitions.names()
    assert count_rows(site)[0] == 0


@pytest.mark.commits
def test_drain_shard_in_several_threads_writes_each_event_once(site):
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    stream.append_events(
        [build_page_view(site.number, count + 1, visitor=count, page=f"/{count}") for count in range(3_000)]
    )

    def drain_and_close(_):
        try:
            return drain_all_shards()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        counts = list(pool.map(drain_and_close, range(6)))
    drain_all_shards()
    assert count_rows(site)[:2] == (3_000, 3_000)
    assert sum(counts) <= 3_000


def test_parse_entries_keeps_the_order_within_a_millisecond():
    packed = json.dumps([7, 0, "/", 1, None, "", 1, *[""] * 13, None, None, None, None]).encode()
    (first, *_), (second, *_) = writer._parse_entries(
        [(f"1700000000000-{sequence}".encode(), {b"e": packed, b"v": b"1"}) for sequence in (0, 1)]
    )

    assert first < second < first + 1_000


@pytest.mark.parametrize(
    "fields",
    [
        {"n": "Order", "v": {"amount": 1, "currency": "A\tB"}},
        {"n": "Order", "v": {"amount": 1, "currency": "A\nB"}},
        {"n": "Order", "v": {"amount": 1, "currency": "ÄÖÜ"}},
        {"u": "?utm_source=%00"},
        {"u": "?ref=%00x%09y&utm_campaign=%0A%5C."},
        {"r": f"http://{'a' * 600}/"},
        {"r": "http://x.example/\ud800"},
        {"u": "?utm_term=\ud800"},
        {"n": "Order", "p": {"a": "\\N", "b\t": "\\", "c": "\n"}},
    ],
    ids=str,
)
def test_drain_shard_is_not_blocked_by_unusual_texts_of_browsers(site, fields):
    address = "http://shop.localhost:8000/"
    status, *_ = send_to_intake(site, {**page_view(), **fields, "u": address + fields.get("u", "")})
    assert status == 202
    assert send_to_intake(site, page_view("/after"))[0] == 202

    assert drain_all_shards() >= 1
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT term.text
            FROM analytics_event event
            JOIN analytics_term term ON term.id = event.page
            WHERE event.site_number = %s""",
            [site.number],
        )
        assert "/after" in {row[0] for row in cursor.fetchall()}


def test_write_valid_rows_leaves_out_only_the_refused_row(site):
    invalid = Event(site.number, Kind.PAGEVIEW, "/invalid", id=1, visitor=4, source="\x00")
    stream.append_events(
        [Event(site.number, Kind.PAGEVIEW, f"/{number}", id=number + 2, visitor=4) for number in range(3)]
    )
    redis.client().xadd(stream.stream_key(invalid.shard), {"e": invalid.to_json(), "v": "9"})
    stream.append_events([Event(site.number, Kind.PAGEVIEW, "/last", id=9, visitor=4)])

    assert drain_all_shards() == 5
    assert count_events(site) == 4
    assert drain_all_shards() == 0
