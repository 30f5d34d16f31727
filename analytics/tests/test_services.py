from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta

import pytest
from django.db import connections
from django.utils import timezone

from analytics import services
from analytics.errors import TooManySaved
from analytics.models import Term
from analytics.reports import event_sql
from analytics.reports.sql_fragments import SqlCondition
from analytics.sharing import links
from analytics.tests.helpers import write_visits
from analytics.time_zones import DateRange
from audit import actors
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


CREATORS = {
    "goal": lambda site, number, actor: services.create_definition(
        site, "goal", {"name": f"Goal {number}", "conditions": ["page:is:/"]}, actor=actor
    ),
    "annotation": lambda site, number, actor: services.create_annotation(
        site, {"day": date(2026, 3, 1), "text": f"Note {number}"}, actor=actor
    ),
    "share": lambda site, number, actor: links.create_share(
        site, name=f"Share {number}", conditions=[], password="", expires_at=None, actor=actor
    ),
}


@pytest.mark.commits
@pytest.mark.parametrize("kind", CREATORS)
def test_enforce_row_limit_counts_parallel_requests(kind, site, owner, monkeypatch):
    monkeypatch.setattr(services, "MAX_ANNOTATIONS_PER_SITE", 3)
    monkeypatch.setitem(services.enforce_row_limit.__kwdefaults__, "limit", 3)
    actor = actors.user(owner.user)

    def create(number):
        try:
            with tenancy.context(tenancy.SYSTEM):
                CREATORS[kind](site, number, actor)
        except TooManySaved:
            return False
        else:
            return True
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        created = list(pool.map(create, range(12)))

    assert sum(created) == 3
