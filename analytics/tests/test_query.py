"""Reports as `reports/query.py` computes them: samples, time zones and numbers of queries."""

from datetime import date, timedelta

import pytest
from django.db import transaction

from analytics.models import Settings
from analytics.reports import event_sql, query, rollups
from analytics.reports.filters import parse_filter
from analytics.reports.sql_fragments import SqlCondition
from analytics.tests.helpers import (
    MARCH_DAYS,
    write_events,
    write_visits,
)
from analytics.time_zones import DateRange
from core import tenancy

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Atlantic/Azores", date(2026, 10, 25)),
        ("Australia/Lord_Howe", date(2026, 10, 4)),
        ("America/Havana", date(2026, 11, 1)),
        ("Asia/Kathmandu", date(2026, 5, 1)),
    ],
)
@pytest.mark.parametrize("with_rollups", [False, True])
def test_timeseries_contains_every_view_on_days_when_clocks_change(site, zone, day, with_rollups):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone=zone)
    date_range = DateRange(site.number, zone, day - timedelta(days=1), day + timedelta(days=1))
    since = date_range.parameters["since"]
    until = date_range.parameters["until"]
    times = [
        since + timedelta(minutes=13) * number
        for number in range(int((until - since) / timedelta(minutes=13)))
    ]
    write_events(site, *[(at, None, None, {}) for at in times])
    if with_rollups:
        rollups.rebuild_dirty_days()

    for interval in ("hour", "day", "week", "month"):
        with transaction.atomic():
            series = query.timeseries(query.Query(date_range), interval)
        assert sum(point["pageviews"] for point in series) == len(times), interval
        assert len({point["at"] for point in series}) == len(series)


def test_sampled_share_and_summary_of_a_sample(site, owner, monkeypatch):
    write_visits(
        site, *[(minute % 600, 7919 * minute, {"page": "/", "country": "DE"}) for minute in range(4_000)]
    )
    rollups.rebuild_dirty_days()
    exact = owner.get(f"sites/{site.pk}/analytics/summary?{MARCH_DAYS}&filter=page:is:/").json()
    monkeypatch.setattr(query, "SAMPLING_THRESHOLD_EVENTS", 1_000)

    sampled = owner.get(f"sites/{site.pk}/analytics/summary?{MARCH_DAYS}&filter=page:is:/").json()

    assert (exact["sample"], exact["metrics"]["visitors"]) == (1.0, 4_000)
    assert sampled["sample"] == 1 / 16
    assert abs(sampled["metrics"]["visitors"] - 4_000) < 800
    assert owner.get(f"sites/{site.pk}/analytics/summary?{MARCH_DAYS}").json()["sample"] == 1.0, (
        "roll-ups need no sample"
    )

    date_range = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2), sample_factor=64)
    assert event_sql.sum_events(date_range, condition=SqlCondition())[None][0] == 64 * sum(
        7919 * minute % 64 == 0 for minute in range(4_000)
    )


def test_funnel_runs_one_statement_over_events(site, shop_events, django_assert_num_queries):
    date_range = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2))
    # The options of the transaction, the number of events from roll-ups and from events, two texts of
    # filters, and the funnel.
    with transaction.atomic(), django_assert_num_queries(6):
        query.funnel(query.Query(date_range), [parse_filter("page:is:/"), parse_filter("page:is:/cart")])
