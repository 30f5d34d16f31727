from datetime import date

import pytest
from django.core.management import CommandError, call_command

from analytics.reports import event_sql, rollup_sql, rollups
from analytics.reports.dimensions import METRICS
from analytics.reports.sql_fragments import SqlCondition
from analytics.simulation import SimulatedTraffic
from analytics.time_zones import DateRange

pytestmark = pytest.mark.django_db
LAST = date(2026, 11, 1)


def test_simulated_traffic_write_resembles_real_traffic(site):
    written = SimulatedTraffic(site.number, ["/", "/menu", "/about", "/contact"], 28, 4_000, LAST).write()
    rollups.rebuild_dirty_days()
    date_range = DateRange(site.number, "UTC", date(2026, 10, 5), LAST)

    assert 3_900 <= written <= 4_200
    total = dict(zip(METRICS, event_sql.sum_events(date_range, condition=SqlCondition())[None], strict=True))
    assert total["visitors"] < total["visits"] < total["pageviews"] < written
    assert 0.3 < total["bounces"] / total["visits"] < 0.8
    days = rollup_sql.sum_days(
        date_range, [date(2026, 10, day) for day in range(5, 32)] + [LAST], interval="day"
    )
    weekend = sum(sums[2] for day, sums in days.items() if day.weekday() >= 5)
    assert weekend / 8 < 0.95 * (total["pageviews"] - weekend) / 20
    sums_by_page = event_sql.sum_events(date_range, condition=SqlCondition(), dimension="page")
    texts = event_sql.get_term_texts(list(sums_by_page))
    page_ids = sorted(texts, key=lambda key: -sums_by_page[key][2])
    assert texts[page_ids[0]] == "/"
    assert sums_by_page[page_ids[0]][2] > 1.5 * sums_by_page[page_ids[1]][2]


def test_analytics_simulate_refuses_a_site_that_is_not_published(site):
    with pytest.raises(CommandError, match="Not published here: nowhere"):
        call_command("analytics_simulate", "--sites", "nowhere")
