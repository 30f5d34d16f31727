from datetime import date, timedelta

import pytest
from django.utils import timezone

from analytics import services
from analytics.models import Term
from analytics.reports import event_sql
from analytics.reports.sql_fragments import SqlCondition
from analytics.tests.helpers import write_visits
from analytics.time_zones import DateRange
from core import tenancy

pytestmark = pytest.mark.django_db


def test_purge_deleted_sites_deletes_their_events_and_terms(site):
    write_visits(site, (0, 1, {}))
    with tenancy.context(tenancy.SYSTEM):
        site.deleted_at = timezone.now() - timedelta(days=40)
        site.save()
        services.purge_deleted_sites(timezone.now() - timedelta(days=30))

    date_range = DateRange(site.number, "UTC", date(2026, 3, 1), date(2026, 3, 2))
    assert event_sql.sum_events(date_range, condition=SqlCondition()) == {}
    assert not Term.objects.filter(site_number=site.number).exists()
