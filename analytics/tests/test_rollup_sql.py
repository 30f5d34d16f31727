"""Roll-ups must equal the sums over events, on days of 23 and 25 hours, too."""

import random
from datetime import date, datetime, timedelta

import pytest
from django.db import transaction

from analytics.reports import event_sql, rollup_sql, rollups, sql_fragments
from analytics.reports.dimensions import DIMENSIONS, METRICS
from analytics.reports.sql_fragments import SqlCondition
from analytics.tests.helpers import (
    random_rows,
    set_time_zone,
    write_events,
    write_rows,
)
from analytics.time_zones import DateRange, day_bounds, local_day

pytestmark = pytest.mark.django_db
# In Berlin, the clocks are put back on the 25th.
FIRST = date(2026, 10, 23)
LAST = date(2026, 10, 27)
NO_CONDITION = SqlCondition()


@pytest.mark.parametrize(
    "zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns", "Australia/Lord_Howe"]
)
def test_sum_days_and_sum_hours_equal_sum_events(site, zone):
    set_time_zone(site, zone)
    rows = random_rows(site, zone, 3_000, first=FIRST, last=LAST, seed=7)
    late_rows = random.Random(1).sample(rows, 200)
    write_rows([row for row in rows if row not in late_rows])
    rollups.rebuild_dirty_days()
    write_rows(late_rows)  # after the roll-ups were built
    date_range = DateRange(site.number, zone, FIRST, LAST)
    days = date_range.days
    dirty_days = rollup_sql.list_dirty_days(date_range)
    assert (rollups.rebuild_dirty_days(), rollup_sql.list_dirty_days(date_range)) == (len(dirty_days), [])
    assert dirty_days

    with transaction.atomic():
        sql_fragments.configure_transaction()
        assert rollup_sql.sum_days(date_range, days) == event_sql.sum_events(
            date_range, condition=NO_CONDITION
        )
        for dimension in DIMENSIONS:
            assert rollup_sql.sum_days(date_range, days, dimension=dimension) == event_sql.sum_events(
                date_range, condition=NO_CONDITION, dimension=dimension
            ), dimension
        for interval in ("day", "week", "month"):
            from_events = {
                local_day(key, zone): sums
                for key, sums in event_sql.sum_events(
                    date_range, condition=NO_CONDITION, interval=interval
                ).items()
            }
            from_rollups = {
                (key.date() if isinstance(key, datetime) else key): sums
                for key, sums in rollup_sql.sum_days(date_range, days, interval=interval).items()
            }
            assert from_rollups == from_events, interval
        assert rollup_sql.sum_hours(date_range, days) == event_sql.sum_events(
            date_range, condition=NO_CONDITION, interval="hour"
        )


def test_sum_hours_returns_25_hours_of_a_day_with_25(site):
    zone = "Europe/Berlin"
    set_time_zone(site, zone)
    since, until = day_bounds(date(2026, 10, 25), date(2026, 10, 25), zone)
    hours = [since + timedelta(hours=count, minutes=5) for count in range(25)]
    write_events(site, *[(at, None, None, {}) for at in hours])
    rollups.rebuild_dirty_days()

    date_range = DateRange(site.number, zone, date(2026, 10, 25), date(2026, 10, 25))
    assert (until - since) == timedelta(hours=25)
    assert len(rollup_sql.sum_hours(date_range, [date_range.first])) == 25
    assert rollup_sql.sum_days(date_range, [date_range.first])[None][METRICS.index("pageviews")] == 25


def test_rebuild_day_sums_up_terms_beyond_the_largest(site, monkeypatch):
    monkeypatch.setattr(rollup_sql, "MAX_TERMS_PER_DIMENSION", 3)
    zone = "UTC"
    write_rows(random_rows(site, zone, 500, first=FIRST, last=LAST, seed=9))
    rollups.rebuild_dirty_days()
    date_range = DateRange(site.number, zone, FIRST, FIRST)

    by_page = rollup_sql.sum_days(date_range, [FIRST], dimension="page")
    assert (len(by_page), sql_fragments.OTHER_TERM in by_page) == (4, True)
    total = rollup_sql.sum_days(date_range, [FIRST])[None]
    assert (
        sum(sums[METRICS.index("pageviews")] for sums in by_page.values())
        == total[METRICS.index("pageviews")]
    )
