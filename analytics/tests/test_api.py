"""Reports over HTTP: exact, for who may see them, and never another site's."""

import csv
import io
from datetime import UTC, datetime, timedelta
from unittest.mock import Mock

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.tests.factories import UserFactory
from analytics import services
from analytics.ingest import stream, writer
from analytics.ingest.stream import Event
from analytics.models import Kind, Settings, Term
from analytics.reports import event_sql, rollups, sql_fragments
from analytics.reports.time_zones import DateRange
from conftest import sign_in
from core import tenancy
from core.storage import redis
from sites.models import Access
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db
DAY = "from=2026-03-01&to=2026-03-02"


@pytest.fixture
def owner(site):
    return sign_in(site.owner)


def put(site, *events):
    """Events as `(moment, visitor, visit, facts)`."""
    rows = []
    for number, (at, visitor, visit, given) in enumerate(events):
        facts = {"kind": Kind.PAGEVIEW, "page": "/", **given}
        event = Event(site.number, **facts, id=number + 1, visitor=visitor)
        rows.append((at, visit, writer.json.loads(event.to_json())))
    with transaction.atomic():
        writer.write_rows(rows)


def at(day, hour=12, minute=0):
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


@pytest.fixture
def march(site):
    put(
        site,
        (at(1), 1, 11, {"page": "/", "source": "Google", "country": "DE"}),
        (at(1, 12, 1), 1, 11, {"page": "/menu", "source": "Google", "country": "DE"}),
        (at(1, 15), 2, 21, {"page": "/", "country": "FR"}),
        (at(1, 15, 1), 2, 21, {"kind": Kind.CUSTOM, "name": "Order", "props": {"plan": "gold"}}),
        (at(2), 3, 31, {"page": "/", "source": "X"}),
        (at(2), None, None, {"page": "/menu"}),
    )


def test_a_summary_says_what_happened_and_compares(site, owner, march):
    found = owner.get(f"sites/{site.pk}/analytics/summary?{DAY}&compare=previous").json()

    assert found["range"] == {"first": "2026-03-01", "last": "2026-03-02", "timezone": "UTC"}
    assert found["metrics"] == {
        "visitors": 3,
        "visits": 3,
        "pageviews": 5,
        "events": 1,
        "views_per_visit": 1.33,
        "bounce_rate": 0.3333,
        "visit_duration": 40,
        "time_on_page": 0,
    }
    assert found["compared"]["pageviews"] == 0
    assert found["compared"]["bounce_rate"] is None


@pytest.mark.parametrize("counted", [False, True])
def test_reports_are_the_same_before_and_after_days_were_counted(site, owner, march, counted):
    if counted:
        rollups.rebuild_dirty_days()
    base = f"sites/{site.pk}/analytics"

    series = owner.get(f"{base}/timeseries?{DAY}").json()["results"]
    assert [(point["at"], point["pageviews"]) for point in series] == [
        ("2026-03-01T00:00:00+00:00", 3),
        ("2026-03-02T00:00:00+00:00", 2),
    ]
    hours = owner.get(f"{base}/timeseries?{DAY}&interval=hour").json()["results"]
    assert (len(hours), hours[12]["pageviews"], hours[15]["events"]) == (48, 2, 1)
    pages = owner.get(f"{base}/breakdown?{DAY}&dimension=page").json()
    assert [(row["value"], row["visitors"], row["pageviews"]) for row in pages["results"]] == [
        ("/", 3, 3),
        ("/menu", 1, 2),
    ]
    sources = owner.get(f"{base}/breakdown?{DAY}&dimension=source&limit=2").json()
    assert (sources["count"], [row["value"] for row in sources["results"]]) == (3, [None, "Google"])
    exits = owner.get(f"{base}/breakdown?{DAY}&dimension=exit_page").json()["results"]
    assert {row["value"]: row["visits"] for row in exits} == {"/": 2, "/menu": 1}


@pytest.mark.parametrize(
    ("asked", "pageviews"),
    [
        ("filter=page:is:/menu", 2),
        ("filter=page:is_not:/menu", 3),
        ("filter=page:is:/|/menu", 5),
        ("filter=page:contains:MEN", 2),
        ("filter=page:contains_not:men", 3),
        ("filter=page:contains:%25", 0),
        ("filter=source:is:Google&filter=page:is:/", 1),
        ("filter=country:is:DE", 2),
        ("filter=source:is_not:Google", 3),
        ("filter=entry_page:is:/", 4),
        ("filter=event:is:Order", 0),
        ("filter=page:is:/nowhere", 0),
        ("filter=property:plan:is:gold", 0),
    ],
)
def test_filters_keep_what_they_say(site, owner, march, asked, pageviews):
    found = owner.get(f"sites/{site.pk}/analytics/summary?{DAY}&{asked}")

    assert found.status_code == 200, found.content
    assert found.json()["metrics"]["pageviews"] == pageviews


def test_properties_are_dimensions(site, owner, march):
    rows = owner.get(f"sites/{site.pk}/analytics/breakdown?{DAY}&dimension=property:plan").json()["results"]

    assert [(row["value"], row["events"], row["visitors"]) for row in rows] == [("gold", 1, 1)]


@pytest.mark.parametrize(
    "asked",
    [
        "from=2026-03-01",
        "from=2026-03-02&to=2026-03-01",
        "from=x&to=y",
        "from=0001-01-01&to=2026-01-01",
        "period=1y",
        "filter=page",
        "filter=page:is:",
        "filter=page:like:x",
        "filter=nothing:is:x",
        "filter=property::is:x",
        "filter=page:is:%00",
        "compare=x",
        "unknown=1",
        "&".join(["filter=page:is:x"] * 11),
    ],
)
def test_what_makes_no_sense_is_refused(site, owner, asked):
    assert owner.get(f"sites/{site.pk}/analytics/summary?{asked}").status_code == 400


def test_whoever_guesses_the_name_of_a_parameter_is_told_the_right_one(site, owner):
    refused = owner.get(f"sites/{site.pk}/analytics/breakdown?by=page").json()["errors"][0]["detail"]

    assert "dimension" in refused.partition("The parameters here are")[2]


def test_too_fine_intervals_are_refused(site, owner):
    base = f"sites/{site.pk}/analytics/timeseries"
    assert owner.get(f"{base}?period=7d&interval=minute").status_code == 400
    assert owner.get(f"{base}?period=90d&interval=hour").status_code == 400
    assert owner.get(f"{base}?from=2026-03-01&to=2026-03-02&interval=minute").status_code == 200


def test_a_report_is_a_file_that_no_spreadsheet_runs(site, owner):
    put(site, (at(1), 1, 11, {"page": "/", "source": "=cmd|' /C calc'!A0"}))

    answer = owner.get(f"sites/{site.pk}/analytics/breakdown?{DAY}&dimension=source&format=csv")

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    (row,) = csv.DictReader(io.StringIO(answer.content.decode()))
    assert (row["value"], row["visitors"]) == ("'=cmd|' /C calc'!A0", "1")


@pytest.mark.parametrize("path", ["summary", "timeseries", "breakdown", "drops", "realtime"])
def test_a_file_of_nothing_has_its_columns(site, owner, path):
    answer = owner.get(f"sites/{site.pk}/analytics/{path}?format=csv")

    assert (answer.status_code, answer["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert answer.content.strip()


def test_nobody_reads_of_another_site(site, owner, march):
    mine = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        mine.refresh_from_db()
    put(mine, (at(1), 9, 91, {"page": "/mine"}))
    me = sign_in(mine.owner)

    assert me.get(f"sites/{site.pk}/analytics/summary?{DAY}").status_code == 404
    pages = me.get(f"sites/{mine.pk}/analytics/breakdown?{DAY}&dimension=page").json()["results"]
    assert [row["value"] for row in pages] == ["/mine"]


def test_viewers_read_and_editors_choose(site, owner):
    viewer = sign_in(UserFactory())
    with tenancy.context(tenancy.SYSTEM):
        Access.objects.create(site=site, user=viewer.user, role="viewer")
    base = f"sites/{site.pk}/analytics/settings"

    assert viewer.get(base).json() == {
        "enabled": True,
        "timezone": "UTC",
        "signals": "count",
        "keep_days": None,
    }
    assert viewer.patch(base, {"enabled": False}).json()["code"] == "site_role_too_low"
    assert owner.patch(base, {"timezone": "Mars/Base"}).status_code == 400
    assert (
        owner.patch(base, {"timezone": "Europe/Berlin", "keep_days": 30}).json()["timezone"]
        == "Europe/Berlin"
    )
    with tenancy.context(tenancy.SYSTEM):
        assert Settings.objects.get(site=site).keep_days == 30


def test_servers_send_what_they_saw(site, owner, monkeypatch):
    now = timezone.now()
    url = f"http://{site.subdomain}.localhost/paid"
    said = [
        {
            "name": "Order",
            "url": url,
            "revenue": {"amount": 12.5, "currency": "EUR"},
            "id": "00000000000000ff",
        },
        {"name": "Order", "url": url, "id": "00000000000000ff"},
        {
            "name": "pageview",
            "url": url,
            "timestamp": (now - timedelta(days=6)).isoformat(),
            "address": "203.0.113.9",
            "user_agent": "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/130.0.0.0 Safari/537.36",
        },
        {"name": "pageview", "url": url, "timestamp": (now - timedelta(days=8)).isoformat()},
        {"name": "pageview", "url": "http://elsewhere.example/"},
    ]
    answer = owner.post(f"sites/{site.pk}/events", said)

    assert (answer.status_code, answer.json()) == (
        202,
        {"accepted": 2, "dropped": {"too_old": 1, "other_host": 1, "duplicate": 1}},
    )
    for shard in range(stream.SHARDS):
        writer.drain_shard(shard)
    late = owner.get(f"sites/{site.pk}/analytics/summary?period=7d").json()["metrics"]
    assert (late["pageviews"], late["events"], late["visitors"]) == (1, 1, 0), (
        "that day's salt is dead, and stays so"
    )
    seen = {**said[2], "timestamp": now.isoformat()}
    assert owner.post(f"sites/{site.pk}/events", [seen, seen]).json()["accepted"] == 2
    for shard in range(stream.SHARDS):
        writer.drain_shard(shard)
    found = owner.get(f"sites/{site.pk}/analytics/summary?period=7d").json()["metrics"]
    assert (found["pageviews"], found["events"], found["visitors"], found["visits"]) == (3, 1, 1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(stream, "append_events", Mock(side_effect=redis.RedisUnavailable))
        assert owner.post(f"sites/{site.pk}/events", [seen]).json()["accepted"] == 1, "written without Redis"
    assert owner.post(f"sites/{site.pk}/events", []).status_code == 400
    assert owner.post(f"sites/{site.pk}/events", said[:1] * 101).status_code == 400


@pytest.mark.commits
def test_reports_cost_few_queries(site, owner, march, django_assert_max_num_queries):
    rollups.rebuild_dirty_days()
    for path in ("summary", "timeseries", "breakdown?dimension=page", "realtime"):
        mark = "&" if "?" in path else "?"
        with django_assert_max_num_queries(14):
            assert (
                owner.get(
                    f"sites/{site.pk}/analytics/{path}{'' if path == 'realtime' else mark + DAY}"
                ).status_code
                == 200
            )


def test_a_site_that_goes_takes_its_analytics_along(site, owner, march):
    with tenancy.context(tenancy.SYSTEM):
        site.deleted_at = timezone.now() - timedelta(days=40)
        site.save()
        services.purge_deleted_sites(timezone.now() - timedelta(days=30))

    assert (
        event_sql.sum_events(
            DateRange(site.number, "UTC", at(1).date(), at(2).date()), condition=sql_fragments.SqlCondition()
        )
        == {}
    )
    assert not Term.objects.filter(site_number=site.number).exists()
