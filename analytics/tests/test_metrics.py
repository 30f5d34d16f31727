"""Prometheus metrics of the streams of events."""

import time

import pytest
from prometheus_client import REGISTRY

from analytics import metrics
from analytics.ingest import intake, stream
from analytics.models import Cursor
from analytics.tests.helpers import build_page_view, drain_all_shards, page_view, send_to_intake
from core.admission.rate_limits import LocalRateLimiter
from core.storage import redis

pytestmark = pytest.mark.django_db


def read_samples():
    """Return the values of each metric of the streams, by shard."""
    values = {}
    for family in metrics.collect():
        name = family.name.removeprefix("getyousite_event_")
        values[name] = [sample.value for sample in family.samples]
    return values


def test_streams_without_events_wait_for_nothing():
    assert read_samples() == {
        "stream_max_entries": [stream.SHED_ENGAGEMENTS_AT_ENTRIES],
        "stream_entries": [0, 0, 0, 0],
        "oldest_waiting_seconds": [0, 0, 0, 0],
    }


def test_oldest_waiting_seconds_is_the_age_of_the_oldest_unwritten_event(site):
    (result,) = stream.append_events([build_page_view(site.number, 1, visitor=4)])
    assert result.outcome == "ok"
    assert drain_all_shards() == 1
    stream.append_events([build_page_view(site.number, count, visitor=5) for count in (2, 3)])
    time.sleep(0.3)

    samples = read_samples()

    assert samples["stream_entries"] == [1, 2, 0, 0]  # a written event stays for ten minutes
    ages = samples["oldest_waiting_seconds"]
    assert 0.3 <= ages[1] < 10
    assert [ages[0], *ages[2:]] == [0, 0, 0]


def test_oldest_waiting_seconds_counts_from_the_first_event_after_redis_lost_its_data(site):
    stream.append_events([build_page_view(site.number, 1, visitor=4)])
    drain_all_shards()
    assert read_samples()["oldest_waiting_seconds"][0] == 0

    Cursor.objects.filter(shard=0).update(epoch="another life", last_id="9999999999999-0")
    time.sleep(0.1)
    assert read_samples()["oldest_waiting_seconds"][0] >= 0.1


def count_drops(reason):
    """Return the counter of dropped events in the metrics of this process."""
    return REGISTRY.get_sample_value("getyousite_events_dropped_total", {"reason": reason}) or 0.0


def test_dropped_events_are_counted_by_reason_also_when_the_sender_gets_503(site, monkeypatch):
    before = {reason: count_drops(reason) for reason in ("bot", "full", "unavailable")}
    monkeypatch.setattr(intake, "_direct_write_limiter", LocalRateLimiter())

    assert send_to_intake(site, [page_view(), page_view()], user_agent="")[0] == 202
    monkeypatch.setattr(stream, "REFUSE_ALL_AT_ENTRIES", 0)
    assert send_to_intake(site, page_view())[0] == 503
    monkeypatch.setattr(intake, "DIRECT_WRITES_PER_SECOND", 0.001)
    redis._breaker.open()
    try:
        assert send_to_intake(site, page_view())[0] == 503
    finally:
        redis.close_breaker()

    counted = {reason: count_drops(reason) - count for reason, count in before.items()}
    assert counted == {"bot": 2, "full": 1, "unavailable": 1}
