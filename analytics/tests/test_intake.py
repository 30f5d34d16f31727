"""The way in: what is counted, what is not and why, and that nothing of a visitor stays."""

import io
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from analytics import maintenance
from analytics.ingest import intake, settings_cache, stream, visitors, writer
from analytics.models import Drop, Settings
from core import tenancy
from core.admission.rate_limits import LocalRateLimiter
from core.storage import redis
from sites.serving.host_routing import Route

pytestmark = pytest.mark.django_db
CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1"
ADDRESS = "203.0.113.77"


@pytest.fixture(autouse=True)
def fresh_buckets(monkeypatch):
    monkeypatch.setattr(intake, "_network_limiter", LocalRateLimiter())


def route_of(site):
    return Route(0, UUID(str(site.pk)), UUID(int=1), "", number=site.number)


def ask(site, body, *, method="POST", agent=CHROME, address=ADDRESS, **headers):
    """Status, reason of the drop, and body of the answer."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": method,
        "HTTP_HOST": "shop.localhost:8000",
        "HTTP_USER_AGENT": agent,
        "REMOTE_ADDR": address,
        "wsgi.input": io.BytesIO(content),
        **headers,
    }
    status, sent, answer = intake.handle_request(environ, route_of(site))
    return int(status[:3]), dict(sent).get("X-Drop", ""), answer


def view(path="/", **more):
    return {"n": "pageview", "u": f"http://shop.localhost:8000{path}", **more}


def stored(site):
    for shard in range(stream.SHARDS):
        writer.drain_shard(shard)
    columns = "page, source, utm_campaign, country, browser, os, device, language, name"
    texts = ", ".join(
        f"(SELECT text FROM analytics_term t WHERE t.id = e.{name.strip()}) AS {name}"
        for name in columns.split(",")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT kind, visitor, session, engaged, props, {texts} FROM analytics_event e WHERE site_number = %s ORDER BY created_at, event_id",
            [site.number],
        )
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def test_a_view_becomes_a_row_without_address_or_agent(site):
    said = view(
        "/menu/?utm_source=mail&utm_campaign=may&x=1",
        r="https://www.google.com/search?q=bread",
        i="00000000000000aa",
    )

    assert ask(site, said, HTTP_ACCEPT_LANGUAGE="de-DE,de;q=0.9")[:2] == (202, "")
    (row,) = stored(site)
    facts = {
        name: row[name]
        for name in ("kind", "page", "source", "utm_campaign", "browser", "os", "device", "language")
    }
    assert facts == {
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


def test_one_visitor_is_one_for_a_day_and_for_a_site(site):
    for path in ("/", "/menu"):
        ask(site, view(path))
    ask(site, view("/"), address="203.0.113.78")
    ask(site, view("/"), agent=IPHONE)

    rows = stored(site)
    assert len({row["visitor"] for row in rows}) == 3
    assert len({row["session"] for row in rows}) == 3
    day = datetime(2026, 3, 3, 12, tzinfo=UTC)
    ids = {
        visitors.visitor_id(number, zone, address=ADDRESS, agent=CHROME, host="x", now=now)
        for number, zone, now in [
            (site.number, "UTC", day),
            (site.number, "UTC", day.replace(day=4)),
            (site.number + 1, "UTC", day),
        ]
    }
    assert len(ids) == 3


def test_two_processes_agree_on_a_visitor_and_nobody_can_after_the_salt_died(site):
    now = timezone.now()
    facts = {"address": ADDRESS, "agent": CHROME, "host": "x", "now": now}
    first = visitors.visitor_id(site.number, "UTC", **facts)
    visitors._salts.clear()  # another process
    assert visitors.visitor_id(site.number, "UTC", **facts) == first

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for hours, there in ((49.9, 1), (50.1, 0)):  # the day itself, and 26 more
        visitors.delete_expired_salts(now=midnight + timedelta(hours=hours))
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM analytics_salt WHERE site_number = %s", [site.number])
            assert cursor.fetchone()[0] == there
    visitors._salts.clear()
    assert visitors.visitor_id(site.number, "UTC", **facts) != first


@pytest.mark.parametrize(
    ("said", "headers", "reason"),
    [
        (
            view(),
            {"agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
            "bot",
        ),
        (view(), {"agent": ""}, "bot"),
        (view(), {"agent": "curl/8.5.0"}, "bot"),
        (view(), {"agent": CHROME.replace("Chrome/", "HeadlessChrome/")}, "bot"),
        (view(w=True), {}, "bot"),
        (view(), {"HTTP_SEC_PURPOSE": "prefetch;prerender"}, "prefetch"),
        ({"n": "pageview", "u": "http://elsewhere.example/"}, {}, "other_host"),
        ({"n": "pageview", "u": "javascript:alert(1)"}, {}, "invalid"),
        ({"n": "pageview"}, {}, "invalid"),
        ({"n": "", "u": "http://shop.localhost/"}, {}, "invalid"),
        (view(x=1), {}, "invalid"),
        (view(i="short"), {}, "invalid"),
        (view(i="zzzzzzzzzzzzzzzz"), {}, "invalid"),
        (view(p={"a": [1]}), {}, "invalid"),
        (view(p={str(n): n for n in range(31)}), {}, "invalid"),
        (view(v={"amount": -1, "currency": "EUR"}), {}, "invalid"),
        (view(v={"amount": 1, "currency": "eur"}), {}, "invalid"),
        ({"n": "engagement", "u": "http://shop.localhost/", "d": "x"}, {}, "invalid"),
        ({"n": "engagement", "u": "http://shop.localhost/", "d": 5000}, {}, "alone"),
        (b"\xff\xfe", {}, "invalid"),
        (b'{"n": "pageview", "n": "x"}', {}, "invalid"),
        (b"[" * 100, {}, "invalid"),
        (None, {}, "invalid"),
        (["x"], {}, "invalid"),
    ],
)
def test_what_is_not_counted_says_why_and_is_added_up(site, said, headers, reason):
    assert ask(site, said, **headers)[:2] == (202, reason)
    assert stored(site) == []
    maintenance.copy_drop_counters(now=timezone.now())
    maintenance.copy_drop_counters(now=timezone.now())
    assert {(drop.reason, drop.count) for drop in Drop.objects.filter(site_number=site.number)} == {
        (reason, 1)
    }


def test_the_same_event_sent_again_counts_once(site):
    said = view(i="0123456789abcdef")

    assert [ask(site, said)[1] for _ in range(3)] == ["", "duplicate", "duplicate"]
    assert len(stored(site)) == 1


@pytest.mark.parametrize("header", ["HTTP_SEC_GPC", "HTTP_DNT"])
@pytest.mark.parametrize(
    ("choice", "expected"), [("count", (1, None)), ("ignore", (1, True)), ("drop", (0, None))]
)
def test_who_asks_not_to_be_tracked_is_not(site, header, choice, expected):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, signals=choice)
    ask(site, view(), **{header: "1"})

    rows = stored(site)
    count, somebody = expected
    assert len(rows) == count
    if rows and not somebody:
        assert {rows[0][name] for name in ("visitor", "session", "browser", "os", "device", "language")} == {
            None
        }
    if rows and somebody:
        assert rows[0]["visitor"]


def test_a_site_that_counts_nothing_counts_nothing(site):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, enabled=False)

    assert ask(site, view())[:2] == (202, "disabled")
    assert stored(site) == []


def test_a_picture_counts_the_page_that_shows_it(site):
    status, drop, body = ask(
        site, b"", method="GET", HTTP_REFERER="http://shop.localhost:8000/menu?utm_source=x"
    )

    assert (status, drop, body[:6]) == (200, "", b"GIF89a")
    assert [row["page"] for row in stored(site)] == ["/menu"]


def test_limits_are_kept(site, settings):
    assert ask(site, b"x" * (8 * 1024 + 1))[0] == 413
    assert ask(site, [view(f"/{n}") for n in range(25)])[:2] == (202, "too_many")
    assert len(stored(site)) == 20
    assert ask(site, b"", method="PUT")[0] == 405
    settings.RATE_LIMIT = 600
    statuses = {
        ask(site, view())[0] for _ in range(intake.MIN_REQUESTS_PER_SECOND * intake.BURST_SECONDS + 20)
    }
    assert statuses == {202, 429}


def test_a_full_stream_refuses_and_a_long_one_sheds_engagements_alone(site, monkeypatch):
    ask(site, view())
    monkeypatch.setattr(stream, "SHED_ENGAGEMENTS_AT_ENTRIES", 1)
    assert ask(site, {"n": "engagement", "u": "http://shop.localhost/", "d": 5000})[1] == "shed"
    assert ask(site, view("/b"))[0] == 202
    monkeypatch.setattr(stream, "REFUSE_ALL_AT_ENTRIES", 1)
    assert ask(site, view("/c"))[0] == 503


def test_a_warm_intake_asks_redis_once_and_the_database_never(site, django_assert_num_queries, monkeypatch):
    ask(site, view())
    calls = []
    pipeline = type(redis.client().pipeline())
    genuine = pipeline.execute
    monkeypatch.setattr(
        pipeline, "execute", lambda self, *args, **kwargs: calls.append(1) or genuine(self, *args, **kwargs)
    )
    with django_assert_num_queries(0):
        assert ask(site, view("/b"))[0] == 202
    assert len(calls) == 1


def test_an_owners_choice_is_followed_within_a_minute(site, monkeypatch):
    ask(site, view())
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, enabled=False)
    assert ask(site, view())[1] == ""
    clock = settings_cache.time.monotonic() + settings_cache.KEPT_SECONDS + 1
    monkeypatch.setattr(settings_cache.time, "monotonic", lambda: clock)
    assert ask(site, view())[1] == "disabled"
