"""The intake: which events are counted, why others are dropped, and what is stored of a visitor."""

from datetime import timedelta
from unittest.mock import Mock

import pytest
from django.utils import timezone

from analytics.ingest import direct_writes, drop_counters, intake, settings_cache, stream
from analytics.models import Drop, Settings
from analytics.reports import event_sql
from analytics.tests.helpers import (
    CHROME,
    build_page_view,
    count_rows,
    drain_all_shards,
    page_view,
    read_stored_events,
    send_to_intake,
)
from core import tenancy
from core.admission.rate_limits import LocalRateLimiter
from core.storage import redis

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def reset_rate_limit(monkeypatch):
    monkeypatch.setattr(intake, "_network_limiter", LocalRateLimiter())


def test_handle_request_stores_a_page_view(site):
    event = page_view(
        "/menu/?utm_source=mail&utm_campaign=may&x=1",
        r="https://www.google.com/search?q=bread",
        i="00000000000000aa",
    )

    assert send_to_intake(site, event, HTTP_ACCEPT_LANGUAGE="de-DE,de;q=0.9")[:2] == (202, "")
    (row,) = read_stored_events(site)
    fields = {
        name: row[name]
        for name in ("kind", "page", "source", "utm_campaign", "browser", "os", "device", "language")
    }
    assert fields == {
        "kind": 0,
        "page": "/menu",
        "source": "mail",
        "utm_campaign": "may",
        "browser": "Chrome",
        "os": "Windows",
        "device": "desktop",
        "language": "de",
    }
    assert row["visitor"] is not None
    assert row["session"] is not None


@pytest.mark.parametrize(
    ("body", "headers", "reason"),
    [
        (
            page_view(),
            {"user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
            "bot",
        ),
        (page_view(), {"user_agent": ""}, "bot"),
        (page_view(), {"user_agent": "curl/8.5.0"}, "bot"),
        (page_view(), {"user_agent": CHROME.replace("Chrome/", "HeadlessChrome/")}, "bot"),
        (page_view(w=True), {}, "bot"),
        (page_view(), {"HTTP_SEC_PURPOSE": "prefetch;prerender"}, "prefetch"),
        ({"n": "pageview", "u": "http://elsewhere.example/"}, {}, "other_host"),
        ({"n": "pageview", "u": "javascript:alert(1)"}, {}, "invalid"),
        ({"n": "pageview"}, {}, "invalid"),
        ({"n": "", "u": "http://shop.localhost/"}, {}, "invalid"),
        (page_view(x=1), {}, "invalid"),
        (page_view(i="short"), {}, "invalid"),
        (page_view(i="zzzzzzzzzzzzzzzz"), {}, "invalid"),
        (page_view(p={"a": [1]}), {}, "invalid"),
        (page_view(p={str(n): n for n in range(31)}), {}, "invalid"),
        (page_view(v={"amount": -1, "currency": "EUR"}), {}, "invalid"),
        (page_view(v={"amount": 1, "currency": "eur"}), {}, "invalid"),
        ({"n": "engagement", "u": "http://shop.localhost/", "d": "x"}, {}, "invalid"),
        ({"n": "engagement", "u": "http://shop.localhost/", "d": 5000}, {}, "alone"),
        (b"\xff\xfe", {}, "invalid"),
        (b'{"n": "pageview", "n": "x"}', {}, "invalid"),
        (b"[" * 100, {}, "invalid"),
        (None, {}, "invalid"),
        (["x"], {}, "invalid"),
    ],
)
def test_handle_request_names_the_reason_of_a_drop_and_copy_to_database_stores_it(
    site, body, headers, reason
):
    assert send_to_intake(site, body, **headers)[:2] == (202, reason)
    assert read_stored_events(site) == []
    drop_counters.copy_to_database(now=timezone.now())
    drop_counters.copy_to_database(now=timezone.now())
    assert {(drop.reason, drop.count) for drop in Drop.objects.filter(site_number=site.number)} == {
        (reason, 1)
    }


def test_handle_request_counts_a_repeated_event_once(site):
    event = page_view(i="0123456789abcdef")

    assert [send_to_intake(site, event)[1] for _ in range(3)] == ["", "duplicate", "duplicate"]
    assert len(read_stored_events(site)) == 1


@pytest.mark.parametrize("header", ["HTTP_SEC_GPC", "HTTP_DNT"])
@pytest.mark.parametrize(
    ("signals", "expected"), [("count", (1, None)), ("ignore", (1, True)), ("drop", (0, None))]
)
def test_handle_request_follows_the_setting_for_tracking_signals(site, header, signals, expected):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, signals=signals)
    send_to_intake(site, page_view(), **{header: "1"})

    rows = read_stored_events(site)
    count, has_visitor = expected
    assert len(rows) == count
    if rows and not has_visitor:
        assert {rows[0][name] for name in ("visitor", "session", "browser", "os", "device", "language")} == {
            None
        }
    if rows and has_visitor:
        assert rows[0]["visitor"]


def test_build_event_reduces_events_of_visitors_who_object_to_tracking(site):
    event = {
        **page_view(),
        "n": "Order",
        "p": {"customer": "bob"},
        "v": {"amount": 1, "currency": "EUR"},
        "r": "https://forum.example/u/bob",
    }
    address = "http://shop.localhost:8000/?utm_campaign=mail-to-bob"

    assert send_to_intake(site, {**event, "u": address}, HTTP_SEC_GPC="1")[0] == 202
    drain_all_shards()

    stored = event_sql.list_events(
        site.number, timezone.now() - timedelta(minutes=5), timezone.now() + timedelta(minutes=5), limit=5
    )[0]
    non_empty = {name: value for name, value in stored.items() if value and name not in {"at", "kind"}}
    assert non_empty == {"page": "/", "name": "Order"}


def test_handle_request_drops_events_when_counting_is_disabled(site):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, enabled=False)

    assert send_to_intake(site, page_view())[:2] == (202, "disabled")
    assert read_stored_events(site) == []


def test_handle_request_of_the_image_counts_the_page_that_contains_it(site):
    status, drop, body = send_to_intake(
        site, b"", method="GET", HTTP_REFERER="http://shop.localhost:8000/menu?utm_source=x"
    )

    assert (status, drop, body[:6]) == (200, "", b"GIF89a")
    assert [row["page"] for row in read_stored_events(site)] == ["/menu"]


def test_handle_request_enforces_its_limits(site, settings):
    assert send_to_intake(site, b"x" * (8 * 1024 + 1))[0] == 413
    assert send_to_intake(site, [page_view(f"/{n}") for n in range(25)])[:2] == (202, "too_many")
    assert len(read_stored_events(site)) == 20
    assert send_to_intake(site, b"", method="PUT")[0] == 405
    settings.RATE_LIMIT = 600
    burst = intake.MIN_REQUESTS_PER_SECOND * intake.BURST_SECONDS
    statuses = [send_to_intake(site, page_view())[0] for _ in range(burst)]
    while 429 not in statuses and len(statuses) < 10 * burst:  # the bucket is refilled meanwhile
        statuses.append(send_to_intake(site, page_view())[0])
    assert set(statuses) == {202, 429}


def test_handle_request_sheds_engagements_of_a_long_stream_and_refuses_all_of_a_full_one(site, monkeypatch):
    send_to_intake(site, page_view())
    monkeypatch.setattr(stream, "SHED_ENGAGEMENTS_AT_ENTRIES", 1)
    assert send_to_intake(site, {"n": "engagement", "u": "http://shop.localhost/", "d": 5000})[1] == "shed"
    assert send_to_intake(site, page_view("/b"))[0] == 202
    monkeypatch.setattr(stream, "REFUSE_ALL_AT_ENTRIES", 1)
    assert send_to_intake(site, page_view("/c"))[0] == 503


def test_handle_request_takes_one_redis_call_and_no_query(site, django_assert_num_queries, redis_round_trips):
    send_to_intake(site, page_view())
    redis_round_trips.clear()
    with django_assert_num_queries(0):
        assert send_to_intake(site, page_view("/b"))[0] == 202
    assert len(redis_round_trips) == 1


def test_handle_request_uses_changed_settings_after_a_minute(site, monkeypatch):
    send_to_intake(site, page_view())
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, enabled=False)
    assert send_to_intake(site, page_view())[1] == ""
    clock = settings_cache.time.monotonic() + settings_cache.MAX_AGE_SECONDS + 1
    monkeypatch.setattr(settings_cache.time, "monotonic", lambda: clock)
    assert send_to_intake(site, page_view())[1] == "disabled"


def test_store_events_writes_to_postgresql_while_redis_is_unavailable(site, monkeypatch):
    monkeypatch.setattr(stream, "append_events", Mock(side_effect=redis.RedisUnavailable))
    monkeypatch.setattr(intake, "_direct_write_limiter", LocalRateLimiter())

    assert intake.store_events(
        [build_page_view(site.number, 1, visitor=8), build_page_view(site.number, 2, visitor=8)]
    ) == [
        "ok",
        "ok",
    ]
    assert count_rows(site) == (2, 2, 1)
    batches = [
        [build_page_view(site.number, count, visitor=8)]
        for count in range(3, 2 * intake.DIRECT_WRITES_PER_SECOND)
    ]
    monkeypatch.setattr(direct_writes, "write_events", Mock())
    with pytest.raises(redis.RedisUnavailable):
        list(map(intake.store_events, batches))
