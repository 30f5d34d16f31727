"""Accepted events are stored once, whatever happens to Redis between the acceptance and the writer."""

import threading
import time

import pytest
from django.db import connection

from analytics.ingest import direct_writes, intake, stream
from analytics.ingest.unwritten_events import KnownState, LostEvents, UnwrittenEvents
from analytics.models import DirectEvent
from analytics.tests.helpers import build_page_view, count_rows, drain_all_shards
from core.storage import redis, redis_scripts
from tests.redis_connections import close_idle_connections
from tests.stack import wait_until

pytestmark = pytest.mark.django_db


def accept(site, numbers):
    """Accept page views with these ids, from a few visitors, as the intake of this process does."""
    events = [build_page_view(site.number, number, visitor=number % 7) for number in numbers]
    assert intake.store_events(events) == ["ok"] * len(events)


def count_events_of(site):
    """The number of stored events and of their distinct ids."""
    return count_rows(site)[:2]


@pytest.mark.commits
def test_accepted_events_are_stored_once_after_redis_was_emptied(site):
    accept(site, range(1, 201))
    drain_all_shards()
    accept(site, range(201, 401))  # not written yet
    redis.client().flushdb()

    accept(site, range(401, 501))  # the process notices that the streams began again

    wait_until(lambda: drain_all_shards() == 0 and count_events_of(site)[0] >= 500, seconds=20)
    assert count_events_of(site) == (500, 500)


@pytest.mark.commits
def test_check_finds_a_loss_without_a_further_event(site):
    accept(site, range(1, 21))
    redis.client().flushdb()

    intake.unwritten_events.check()

    wait_until(lambda: count_events_of(site) == (20, 20), seconds=20)
    assert drain_all_shards() == 0


@pytest.mark.commits
def test_accepted_events_are_stored_once_after_redis_restarted_with_older_data(site):
    accept(site, range(1, 21))
    saved = {key: redis.client().dump(key) for key in redis.client().keys("ev:*")}
    accept(site, range(21, 41))
    redis.client().flushdb()
    for key, value in saved.items():
        redis.client().restore(key, 0, value)

    accept(site, range(41, 61))

    wait_until(lambda: drain_all_shards() == 0 and count_events_of(site)[0] >= 60, seconds=20)
    assert count_events_of(site) == (60, 60)


@pytest.mark.commits
def test_accepted_events_are_stored_once_when_another_process_hides_that_redis_went_back(site, monkeypatch):
    monkeypatch.setattr(redis_scripts, "UNCHECKED_SECONDS", 0)
    accept(site, range(1, 21))
    saved = {key: redis.client().dump(key) for key in redis.client().keys("ev:*")}
    accept(site, range(21, 41))
    redis.client().flushdb()
    for key, value in saved.items():
        redis.client().restore(key, 0, value)
    close_idle_connections()
    others = [build_page_view(site.number, number, visitor=number % 7) for number in range(101, 201)]
    stream.append_events(others)  # of another process: the numbers of the streams are higher than before

    accept(site, range(41, 61))

    wait_until(lambda: drain_all_shards() == 0 and count_events_of(site)[0] >= 160, seconds=20)
    assert count_events_of(site) == (160, 160)


def test_drain_shard_doubles_nothing_when_the_state_of_a_stream_is_lost(site):
    accept(site, range(1, 101))
    drain_all_shards()
    accept(site, range(101, 201))
    for shard in range(stream.SHARDS):
        redis.client().delete(stream.state_key(shard))
    accept(site, range(201, 301))

    drain_all_shards()

    assert count_events_of(site) == (300, 300)


def test_append_events_keeps_the_epoch_of_a_stream_of_an_earlier_version(site):
    entry = {"e": build_page_view(site.number, 1, visitor=4).to_json(), "v": "7"}
    redis.client().xadd(stream.stream_key(0), entry)
    redis.client().set(stream.FORMER_EPOCH_KEY, "former")

    (result,) = stream.append_events([build_page_view(site.number, 2, visitor=4)])

    assert (result.epoch, result.number) == ("former", 1)


def test_writer_skips_events_that_were_written_directly(site):
    events = [build_page_view(site.number, number, visitor=4) for number in range(1, 11)]
    direct_writes.write_events(events)
    stream.append_events(events)  # the frozen Redis goes on and appends what nobody waits for any more
    stream.append_events([build_page_view(site.number, 11, visitor=4)])

    drain_all_shards()

    assert count_events_of(site) == (11, 11)


def test_write_events_skips_events_that_the_writer_was_faster_to_store(site):
    events = [build_page_view(site.number, number, visitor=4) for number in range(1, 11)]
    stream.append_events(events)
    drain_all_shards()

    direct_writes.write_events(events)
    direct_writes.write_events([build_page_view(site.number, 11, visitor=4)] * 1)
    direct_writes.write_events([build_page_view(site.number, 11, visitor=4)])

    assert count_events_of(site) == (11, 11)
    assert DirectEvent.objects.count() == 1


def test_events_of_one_id_on_two_sites_do_not_hide_each_other(site):
    direct_writes.write_events([build_page_view(site.number, 1, visitor=4)])

    assert DirectEvent.objects.find({(site.number, 1), (site.number + 1, 1)}) == {(site.number, 1)}


def test_unwritten_events_are_released_when_the_writer_has_stored_them(site):
    accept(site, range(1, 51))
    drain_all_shards()
    intake.unwritten_events.check()

    assert sum(len(shard.held) for shard in intake.unwritten_events._shards) == 0


def test_unwritten_events_beyond_the_limit_are_reported_as_lost_by_site(site, monkeypatch):
    monkeypatch.setattr("analytics.ingest.unwritten_events.MAX_EVENTS", 3)
    losses = []
    held = UnwrittenEvents(1, recover=losses.append, read_states=list)
    for number in range(1, 11):
        event = build_page_view(site.number, number, visitor=0)
        held.record_accepted(
            0, event, stream.Appended("ok", "first", number, 0), sent_after=KnownState([number - 1])
        )

    held.record_accepted(0, event, stream.Appended("ok", "second", 1, 0), sent_after=KnownState([10]))

    wait_until(lambda: losses, seconds=5)
    assert [event.id for event in losses[0].events] == [8, 9, 10]
    assert losses[0].counts == {site.number: 7}
    intake._write_lost_events(LostEvents([], losses[0].counts))
    intake._write_lost_events(LostEvents([], losses[0].counts))
    with connection.cursor() as cursor:
        cursor.execute("SELECT site_number, reason, count FROM analytics_drop")
        assert cursor.fetchall() == [(site.number, "lost", 14)]


def test_unwritten_events_are_not_lost_when_threads_get_their_answers_in_another_order(site):
    losses = []
    held = UnwrittenEvents(1, recover=losses.append, read_states=lambda: [("first", 12, 0)])
    for number, sent_after in ((10, 0), (12, 10), (11, 10)):
        event = build_page_view(site.number, number, visitor=0)
        held.record_accepted(
            0, event, stream.Appended("ok", "first", number, 0), sent_after=KnownState([sent_after])
        )
    held.check()

    assert [number for number, _ in held._shards[0].held] == [10, 12, 11]
    assert not held._recovering

    held.record_accepted(0, event, stream.Appended("ok", "first", 12, 0), sent_after=KnownState([12]))
    wait_until(lambda: losses, seconds=5)
    assert len(losses[0].events) == 3


def test_unwritten_events_are_recovered_by_one_thread(site):
    running = []

    def recover(lost):
        running.append(threading.active_count())
        time.sleep(0.1)

    held = UnwrittenEvents(1, recover=recover, read_states=list)
    threads_before = threading.active_count()
    for number in range(10):  # each event finds another epoch
        event = build_page_view(site.number, number, visitor=0)
        held.record_accepted(0, event, stream.Appended("ok", str(number), 1, 0), sent_after=KnownState([0]))

    wait_until(lambda: len(running) == 9, seconds=5)
    assert max(running) <= threads_before + 2  # the watcher and the recovery


def test_recovery_goes_on_after_a_batch_that_fails(site):
    recovered = []

    def recover(lost):
        recovered.append(lost)
        if len(recovered) == 1:
            raise ValueError("a value that no column takes")

    held = UnwrittenEvents(1, recover=recover, read_states=list)
    for epoch in ("a", "b", "c"):
        event = build_page_view(site.number, 1, visitor=0)
        held.record_accepted(0, event, stream.Appended("ok", epoch, 1, 0), sent_after=KnownState([0]))

    wait_until(lambda: not held._recovering, seconds=5)
    assert [len(lost.events) for lost in recovered] == [1, 1]
