"""Sums over events, and the index of the sample."""

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection, transaction

from analytics.models import Kind
from analytics.partitions import event_partitions
from analytics.reports import event_sql, sql_fragments
from analytics.reports.dimensions import METRICS
from analytics.reports.sql_fragments import SqlCondition
from analytics.tests.helpers import (
    random_rows,
    set_time_zone,
    write_events,
    write_rows,
)
from analytics.time_zones import DateRange

pytestmark = pytest.mark.django_db
NO_CONDITION = SqlCondition()
# In Berlin, the clocks are put back on the 25th.
FIRST = date(2026, 10, 23)
LAST = date(2026, 10, 27)


def test_with_sampled_events_uses_an_index(site):
    event_partitions.create_missing({datetime(2026, 3, 1, tzinfo=UTC)})
    date_range = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2), sample_factor=64)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute("DROP INDEX analytics_event_site")
        cursor.execute(
            f"EXPLAIN {sql_fragments.WITH_SAMPLED_EVENTS} SELECT count(*) FROM visited_events",
            date_range.parameters,
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())
        transaction.set_rollback(True)
    assert "Index Scan" in plan
    assert "Seq Scan" not in plan


def test_sum_events_counts_visits_bounces_and_durations(site):
    noon = datetime(2026, 10, 24, 12, tzinfo=UTC)
    events = [  # seconds after noon, visit, kind, page, engaged
        (0, 1, Kind.PAGEVIEW, "/in", None),
        (60, 1, Kind.PAGEVIEW, "/out", None),
        (90, 1, Kind.ENGAGEMENT, "/out", 25_000),
        (0, 2, Kind.PAGEVIEW, "/in", None),
        (30, 2, Kind.ENGAGEMENT, "/in", 5_000),
        (0, 3, Kind.PAGEVIEW, "/in", None),
        (10, 3, Kind.CUSTOM, "/in", None),
    ]
    write_events(
        site,
        *[
            (
                noon + timedelta(seconds=seconds),
                visit,
                visit,
                {
                    "kind": kind,
                    "page": page,
                    "name": "Buy" if kind == Kind.CUSTOM else "",
                    "engaged": engaged,
                },
            )
            for seconds, visit, kind, page, engaged in events
        ],
    )
    date_range = DateRange(site.number, "UTC", noon.date(), noon.date())

    sums = dict(zip(METRICS, event_sql.sum_events(date_range, condition=NO_CONDITION)[None], strict=True))
    assert sums == {
        "visitors": 3,
        "visits": 3,
        "pageviews": 4,
        "events": 1,
        "bounces": 1,
        "seconds": 130,
        "views": 4,
        "engaged": 30_000,
    }
    by_exit_page = event_sql.sum_events(date_range, condition=NO_CONDITION, dimension="exit_page")
    texts = event_sql.get_term_texts(list(by_exit_page))
    visits_by_exit_page = {texts[key]: sums[1] for key, sums in by_exit_page.items()}
    assert visits_by_exit_page == {"/out": 1, "/in": 2}


def test_sum_events_of_days_adds_up_to_the_range(site):
    zone = "Europe/Berlin"
    set_time_zone(site, zone)
    write_rows(random_rows(site, zone, 2_000, first=FIRST, last=LAST, seed=3))
    date_range = DateRange(site.number, zone, FIRST, LAST)
    total = event_sql.sum_events(date_range, condition=NO_CONDITION)[None]
    by_day = event_sql.sum_events(date_range, condition=NO_CONDITION, interval="day")
    single_days = [
        event_sql.sum_events(DateRange(site.number, zone, day, day), condition=NO_CONDITION)[None]
        for day in date_range.days
    ]

    assert [sum(column) for column in zip(*by_day.values(), strict=True)] == total
    assert [sum(column) for column in zip(*single_days, strict=True)] == total
    assert len(METRICS) == len(total)
