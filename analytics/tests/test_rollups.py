from datetime import date
from unittest.mock import Mock

import pytest
from django.db import DataError

from analytics.reports import rollup_sql, rollups
from analytics.tests.helpers import write_visits
from analytics.time_zones import DateRange
from core import tenancy
from sites.tests.factories import SiteFactory

pytestmark = pytest.mark.django_db


def test_rebuild_dirty_days_skips_a_day_with_a_database_error(site, monkeypatch):
    other_site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        other_site.refresh_from_db()
    write_visits(site, (0, 1, {}))
    write_visits(other_site, (0, 1, {}))
    original = rollup_sql.rebuild_day
    monkeypatch.setattr(
        rollup_sql,
        "rebuild_day",
        lambda number, *arguments: (
            original(number, *arguments) if number == other_site.number else Mock(side_effect=DataError)()
        ),
    )

    assert rollups.rebuild_dirty_days() >= 1
    day = date(2026, 3, 1)
    assert rollup_sql.list_dirty_days(DateRange(other_site.number, "UTC", day, day)) == []
    assert rollup_sql.list_dirty_days(DateRange(site.number, "UTC", day, day)) == [day]
