"""Sums of sums are sums: whatever is asked of roll-ups equals what the events say, on days of 23 and 25 hours
too.
"""

import random
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import transaction

from analytics.ingest import writer
from analytics.ingest.stream import Event
from analytics.models import Kind, Settings
from analytics.reports import event_sql, rollup_sql, rollups, sql_fragments
from analytics.reports.dimensions import DIMENSIONS, METRICS
from analytics.reports.sql_fragments import SqlCondition
from analytics.reports.time_zones import DateRange, day_bounds, local_day
from core import tenancy

pytestmark = pytest.mark.django_db
# Berlin's clock goes back on the 25th
FIRST = date(2026, 10, 23)
LAST = date(2026, 10, 27)
ALL = SqlCondition()


def settle(site, zone):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone=zone)


def random_rows(site, zone, count, seed):
    """Visits of visitors who live for one local day, as the intake makes them; some events belong to nobody."""
    draw = random.Random(seed)
    since, until = day_bounds(FIRST, LAST, zone)
    rows = []
    for number in range(count):
        at = since + (until - since) * draw.random()
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        person = draw.random() < 0.9
        visitor = local_day(at, zone).toordinal() * 1_000 + draw.randrange(40) if person else None
        kind = draw.choice([Kind.PAGEVIEW] * 6 + [Kind.CUSTOM, Kind.OUTBOUND, Kind.DOWNLOAD, Kind.ENGAGEMENT])
        event = Event(
            site.number,
            kind,
            f"/{draw.randrange(12)}",
            id=number + 1,
            at=at,
            visitor=visitor,
            name=draw.choice(["Sign up", "Buy"]) if kind == Kind.CUSTOM else "",
            source=draw.choice(["", "Google", "X"]),
            referrer=draw.choice(["", "google.com"]),
            utm=(draw.choice(["", "mail"]), "", draw.choice(["", "may"]), "", ""),
            country=draw.choice(["", "DE", "FR"]),
            browser=draw.choice(["Chrome", "Firefox"]),
            os=draw.choice(["iOS", ""]),
            device="mobile",
            language=draw.choice(["", "de"]),
            engaged=draw.randrange(1, 9_999) if kind == Kind.ENGAGEMENT else None,
        )
        visit = None if visitor is None else visitor * 10 + draw.randrange(2)
        rows.append((at, visit, writer.json.loads(event.to_json())))
    return rows


def write(rows):
    with transaction.atomic():
        writer.write_rows(rows)


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]
)
def test_every_metric_of_every_slice_is_the_same_from_roll_ups_and_from_events(site, zone):
    settle(site, zone)
    rows = random_rows(site, zone, 3_000, seed=7)
    late = random.Random(1).sample(rows, 200)
    write([row for row in rows if row not in late])
    rollups.rebuild_dirty_days()
    write(late)  # after the days were counted
    span = DateRange(site.number, zone, FIRST, LAST)
    days = [FIRST + timedelta(days=count) for count in range((LAST - FIRST).days + 1)]
    dirty = rollup_sql.list_dirty_days(span)
    assert (rollups.rebuild_dirty_days(), rollup_sql.list_dirty_days(span)) == (len(dirty), [])
    assert dirty

    with transaction.atomic():
        sql_fragments.configure_transaction()
        assert rollup_sql.sum_days(span, days) == event_sql.sum_events(span, condition=ALL)
        for name in DIMENSIONS:
            assert rollup_sql.sum_days(span, days, dimension=name) == event_sql.sum_events(
                span, condition=ALL, dimension=name
            ), name
        for bucket in ("day", "week", "month"):
            raw = {
                local_day(key, zone): sums
                for key, sums in event_sql.sum_events(span, condition=ALL, interval=bucket).items()
            }
            rolled = {
                (key.date() if isinstance(key, datetime) else key): sums
                for key, sums in rollup_sql.sum_days(span, days, interval=bucket).items()
            }
            assert rolled == raw, bucket
        assert rollup_sql.sum_hours(span, days) == event_sql.sum_events(span, condition=ALL, interval="hour")


def test_days_add_up_to_the_range(site):
    zone = "Europe/Berlin"
    settle(site, zone)
    write(random_rows(site, zone, 2_000, seed=3))
    span = DateRange(site.number, zone, FIRST, LAST)
    whole = event_sql.sum_events(span, condition=ALL)[None]
    by_day = event_sql.sum_events(span, condition=ALL, interval="day")
    alone = [
        event_sql.sum_events(DateRange(site.number, zone, day, day), condition=ALL)[None]
        for day in (FIRST + timedelta(days=n) for n in range(5))
    ]

    assert [sum(column) for column in zip(*by_day.values(), strict=True)] == whole
    assert [sum(column) for column in zip(*alone, strict=True)] == whole
    assert len(METRICS) == len(whole)


def test_the_25_hours_of_a_day_are_25(site):
    zone = "Europe/Berlin"
    settle(site, zone)
    since, until = day_bounds(date(2026, 10, 25), date(2026, 10, 25), zone)
    hours = [since + timedelta(hours=count, minutes=5) for count in range(25)]
    write(
        [
            (at, None, writer.json.loads(Event(site.number, Kind.PAGEVIEW, "/", id=n + 1).to_json()))
            for n, at in enumerate(hours)
        ]
    )
    rollups.rebuild_dirty_days()

    span = DateRange(site.number, zone, date(2026, 10, 25), date(2026, 10, 25))
    assert (until - since) == timedelta(hours=25)
    assert len(rollup_sql.sum_hours(span, [span.first])) == 25
    assert rollup_sql.sum_days(span, [span.first])[None][METRICS.index("pageviews")] == 25


def test_a_visit_means_what_the_definitions_say(site):
    noon = datetime(2026, 10, 24, 12, tzinfo=UTC)
    said = [  # seconds after noon, visit, kind, page, engaged
        (0, 1, Kind.PAGEVIEW, "/in", None),
        (60, 1, Kind.PAGEVIEW, "/out", None),
        (90, 1, Kind.ENGAGEMENT, "/out", 25_000),
        (0, 2, Kind.PAGEVIEW, "/in", None),
        (30, 2, Kind.ENGAGEMENT, "/in", 5_000),
        (0, 3, Kind.PAGEVIEW, "/in", None),
        (10, 3, Kind.CUSTOM, "/in", None),
    ]
    rows = []
    for number, (second, visit, kind, page, engaged) in enumerate(said):
        event = Event(
            site.number,
            kind,
            page,
            id=number + 1,
            visitor=visit,
            name="Buy" if kind == Kind.CUSTOM else "",
            engaged=engaged,
        )
        rows.append((noon + timedelta(seconds=second), visit, writer.json.loads(event.to_json())))
    write(rows)
    span = DateRange(site.number, "UTC", noon.date(), noon.date())

    found = dict(zip(METRICS, event_sql.sum_events(span, condition=ALL)[None], strict=True))
    assert found == {
        "visitors": 3,
        "visits": 3,
        "pageviews": 4,
        "events": 1,
        "bounces": 1,
        "seconds": 130,
        "views": 4,
        "engaged": 30_000,
    }
    names = event_sql.get_term_texts(list(event_sql.sum_events(span, condition=ALL, dimension="exit_page")))
    exits = {
        names[key]: sums[1]
        for key, sums in event_sql.sum_events(span, condition=ALL, dimension="exit_page").items()
    }
    assert exits == {"/out": 1, "/in": 2}


def test_what_is_beyond_the_largest_is_one_and_nothing_is_lost(site, monkeypatch):
    monkeypatch.setattr(rollup_sql, "MAX_TERMS_PER_DIMENSION", 3)
    zone = "UTC"
    write(random_rows(site, zone, 500, seed=9))
    rollups.rebuild_dirty_days()
    span = DateRange(site.number, zone, FIRST, FIRST)

    by_page = rollup_sql.sum_days(span, [FIRST], dimension="page")
    assert (len(by_page), sql_fragments.OTHER_TERM in by_page) == (4, True)
    whole = rollup_sql.sum_days(span, [FIRST])[None]
    assert (
        sum(sums[METRICS.index("pageviews")] for sums in by_page.values())
        == whole[METRICS.index("pageviews")]
    )
