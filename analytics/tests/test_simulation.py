"""Invented traffic looks like traffic, and is as exact as any."""

from datetime import date

import pytest
from django.core.management import CommandError, call_command

from analytics.reports import rollups, sql_store
from analytics.reports.dimensions import METRICS
from analytics.reports.sql_store import Where
from analytics.reports.time_zones import Span
from analytics.simulation import Traffic

pytestmark = pytest.mark.django_db
LAST = date(2026, 11, 1)


def test_traffic_has_the_shape_of_traffic(site):
    written = Traffic(site.number, ["/", "/menu", "/about", "/contact"], 28, 4_000, LAST).write()
    rollups.recount()
    span = Span(site.number, "UTC", date(2026, 10, 5), LAST)

    assert 3_900 <= written <= 4_200
    whole = dict(zip(METRICS, sql_store.raw_sums(span, where=Where())[None], strict=True))
    assert whole["visitors"] < whole["visits"] < whole["pageviews"] < written
    assert 0.3 < whole["bounces"] / whole["visits"] < 0.8
    days = sql_store.rolled_sums(span, [date(2026, 10, day) for day in range(5, 32)] + [LAST], bucket="day")
    weekend = sum(sums[2] for day, sums in days.items() if day.weekday() >= 5)
    assert weekend / 8 < 0.95 * (whole["pageviews"] - weekend) / 20
    names = sql_store.names_of(list(found := sql_store.raw_sums(span, where=Where(), dimension="page")))
    ordered = sorted(names, key=lambda key: -found[key][2])
    assert names[ordered[0]] == "/"
    assert found[ordered[0]][2] > 1.5 * found[ordered[1]][2]


def test_the_command_names_what_is_not_published(site):
    with pytest.raises(CommandError, match="Not published here: nowhere"):
        call_command("analytics_simulate", "--sites", "nowhere")
