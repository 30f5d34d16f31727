"""Every event once, whatever is killed, emptied, missing or said twice."""

import os
import random
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from django.db import connection
from django.utils import timezone

from analytics import partitions
from analytics.ingest import intake, stream, string_dictionary, writer
from analytics.ingest.stream import Event
from analytics.models import Cursor, Kind, Term
from core.admission.rate_limits import LocalRateLimiter
from core.storage import redis

pytestmark = pytest.mark.django_db
KILLS = 1_000 if os.environ.get("SOAK") else 60


def rows(site):
    """Events, distinct ids, distinct visits."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT event_id), count(DISTINCT session) FROM analytics_event WHERE site_number = %s",
            [site.number],
        )
        return cursor.fetchone()


def view(number, count, *, visitor=None, page="/", **facts):
    return Event(number, Kind.PAGEVIEW, page, id=count, visitor=visitor, **facts)


def drain():
    return sum(writer.drain_shard(shard) for shard in range(stream.SHARDS))


def test_each_event_is_written_once(site):
    events = [
        view(site.number, count + 1, visitor=count % 7, page=f"/{count % 3}\t\\N") for count in range(100)
    ]

    assert stream.append_events(events) == ["ok"] * 100
    assert stream.append_events(events[:10]) == ["duplicate"] * 10
    assert drain() == 100
    assert drain() == 0
    assert rows(site) == (100, 100, 7)


def test_props_come_back_as_they_were_said(site):
    said = {"tab\t": "line\nback\\slash \\N", "ünï": 1.5, "yes": True}
    stream.append_events(
        [
            Event(
                site.number,
                Kind.CUSTOM,
                "/",
                id=1,
                name="Sign\\up",
                props=said,
                value="12.500",
                currency="EUR",
            )
        ]
    )
    drain()

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT props, value, currency FROM analytics_event WHERE site_number = %s", [site.number]
        )
        (props, value, currency) = cursor.fetchone()
    assert (writer.json.loads(props) if isinstance(props, str) else props, str(value), currency) == (
        said,
        "12.500",
        "EUR",
    )
    assert Term.objects.get(site_number=site.number, sort=Term.Sort.EVENT).text == "Sign\\up"


def drain_all():
    """In a child that the test may kill."""
    return drain()


@pytest.mark.commits
def test_writers_that_are_killed_at_any_moment_leave_every_event_once(site, nursery):
    sent = 0
    took = 0.1
    random.seed(8)
    for _ in range(KILLS):
        count = random.randint(1, 40)
        stream.append_events(
            [
                view(site.number, sent + n + 1, visitor=random.randint(1, 50), page=f"/{sent + n}")
                for n in range(count)
            ]
        )
        sent += count
        nursery.run(drain_all, kill_after=random.uniform(0, 2 * took))
        if random.random() < 0.1:
            took, _ = nursery.run(drain_all)
    drain()

    assert rows(site)[:2] == (sent, sent)
    assert sum(cursor.written for cursor in Cursor.objects.all()) == sent


def test_an_emptied_redis_begins_anew_and_loses_only_what_was_in_it(site):
    stream.append_events([view(site.number, count + 1, visitor=4) for count in range(10)])
    drain()
    stream.append_events([view(site.number, 100, visitor=4)])  # never read
    redis.client().flushdb()
    redis.client().xadd(
        stream.stream_key(0), {"e": view(site.number, 11, visitor=4).to_json(), "v": "7"}, id="5-1"
    )  # a clock that went back
    redis.client().set(stream.EPOCH_KEY, "another life")

    assert drain() == 1
    assert drain() == 0
    assert rows(site)[:2] == (11, 11)


def test_a_batch_that_is_delivered_twice_is_behind_the_cursor(site):
    stream.append_events([view(site.number, count + 1, visitor=8) for count in range(10)])
    entries = redis.client().xrange(stream.stream_key(0))
    drain()
    assert redis.client().xlen(stream.stream_key(0)) == 10, "the tail stays for a standby"

    assert drain() == 0
    assert (len(entries), rows(site)[0]) == (10, 10)


def test_what_is_written_long_ago_leaves_redis_and_nothing_else(site, monkeypatch):
    stream.append_events([view(site.number, count + 1, visitor=8) for count in range(10)])
    drain()
    monkeypatch.setattr(writer, "STREAM_RETENTION", timedelta(0))
    stream.append_events([view(site.number, 11, visitor=8)])
    drain()

    assert redis.client().xlen(stream.stream_key(0)) <= 1


@pytest.mark.commits
def test_a_missing_partition_is_made_while_writing(site):
    old = datetime(2019, 2, 3, 4, 5, tzinfo=UTC)
    stream.append_events([view(site.number, 1, visitor=8, at=old)])

    assert drain() == 1
    assert "analytics_event_201902" in partitions.existing()
    assert partitions.make(old) is False
    assert "analytics_event_201902" in partitions.drop_older(datetime(2019, 3, 1, tzinfo=UTC))
    assert "analytics_event_201902" not in partitions.existing()
    assert rows(site)[0] == 0


@pytest.mark.commits
def test_two_writers_of_one_shard_do_not_write_twice(site):
    from concurrent.futures import ThreadPoolExecutor

    from django.db import connections

    stream.append_events(
        [view(site.number, count + 1, visitor=count, page=f"/{count}") for count in range(3_000)]
    )

    def act(_):
        try:
            return drain()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(act, range(6)))
    drain()
    assert rows(site)[:2] == (3_000, 3_000)
    assert sum(done) <= 3_000


def test_a_flood_of_invented_paths_ends_as_other(site, monkeypatch):
    monkeypatch.setattr(string_dictionary, "MOST_A_DAY", 5)
    stream.append_events([view(site.number, count + 1, visitor=8, page=f"/{count}") for count in range(20)])
    drain()
    stream.append_events([view(site.number, count + 21, visitor=8, page=f"/{count}") for count in range(20)])
    drain()

    texts = Term.objects.filter(site_number=site.number, sort=Term.Sort.PAGE).values_list("text", flat=True)
    assert len(texts) == 6
    assert string_dictionary.OTHER in texts
    assert rows(site)[0] == 40


def test_numbers_of_a_transaction_that_failed_are_not_remembered(site):
    from django.db import transaction

    with transaction.atomic():
        string_dictionary.resolve({(site.number, Term.Sort.PAGE, "/gone")}, today=timezone.localdate())
        transaction.set_rollback(True)

    stream.append_events([view(site.number, 1, visitor=8, page="/gone")])
    assert drain() == 1
    assert Term.objects.filter(site_number=site.number, text="/gone").exists()


def test_while_redis_is_away_events_go_straight_into_the_database(site, monkeypatch):
    monkeypatch.setattr(stream, "append_events", Mock(side_effect=redis.RedisUnavailable))
    monkeypatch.setattr(intake, "_direct_write_limiter", LocalRateLimiter())

    assert intake.store_events([view(site.number, 1, visitor=8), view(site.number, 2, visitor=8)]) == [
        "ok",
        "ok",
    ]
    assert rows(site) == (2, 2, 1)
    many = [[view(site.number, count, visitor=8)] for count in range(3, 2 * intake.DIRECT_WRITES_PER_SECOND)]
    monkeypatch.setattr(writer, "write_without_stream", Mock())
    with pytest.raises(redis.RedisUnavailable):
        list(map(intake.store_events, many))
