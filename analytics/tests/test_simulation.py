"""Invented traffic looks like traffic, and is as exact as any."""

from datetime import date

import pytest
from django.core.management import CommandError, call_command

from analytics.reports import event_sql, rollup_sql, rollups
from analytics.reports.dimensions import METRICS
from analytics.reports.sql_fragments import SqlCondition
from analytics.reports.time_zones import DateRange
from analytics.simulation import SimulatedTraffic

pytestmark = pytest.mark.django_db
LAST = date(2026, 11, 1)


def test_traffic_has_the_shape_of_traffic(site):
    written = SimulatedTraffic(site.number, ["/", "/menu", "/about", "/contact"], 28, 4_000, LAST).write()
    rollups.rebuild_dirty_days()
    span = DateRange(site.number, "UTC", date(2026, 10, 5), LAST)

    assert 3_900 <= written <= 4_200
    whole = dict(zip(METRICS, event_sql.sum_events(span, condition=SqlCondition())[None], strict=True))
    assert whole["visitors"] < whole["visits"] < whole["pageviews"] < written
    assert 0.3 < whole["bounces"] / whole["visits"] < 0.8
    days = rollup_sql.sum_days(span, [date(2026, 10, day) for day in range(5, 32)] + [LAST], interval="day")
    weekend = sum(sums[2] for day, sums in days.items() if day.weekday() >= 5)
    assert weekend / 8 < 0.95 * (whole["pageviews"] - weekend) / 20
    names = event_sql.get_term_texts(
        list(found := event_sql.sum_events(span, condition=SqlCondition(), dimension="page"))
    )
    ordered = sorted(names, key=lambda key: -found[key][2])
    assert names[ordered[0]] == "/"
    assert found[ordered[0]][2] > 1.5 * found[ordered[1]][2]


def test_the_command_names_what_is_not_published(site):
    with pytest.raises(CommandError, match="Not published here: nowhere"):
        call_command("analytics_simulate", "--sites", "nowhere")
