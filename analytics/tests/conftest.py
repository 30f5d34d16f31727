from datetime import date

import pytest

from analytics.ingest import settings_cache, string_dictionary, visitors
from analytics.models import Kind, Subscription
from analytics.partitions import event_partitions
from analytics.tests.helpers import order_fields, write_visits
from conftest import sign_in
from core import tenancy
from sites.tests.factories import SiteFactory


@pytest.fixture(autouse=True)
def clear_process_caches():
    """Tables are emptied between tests, so caches of this process would hold rows that no longer exist."""
    string_dictionary.clear_cache()
    event_partitions.forget_existing()
    settings_cache._entries.clear()
    visitors._salts.clear()


@pytest.fixture
def site(db):
    site = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        site.refresh_from_db()
    return site


@pytest.fixture
def owner(site):
    """The API, signed in as the owner of the site."""
    return sign_in(site.owner)


@pytest.fixture
def subscriber(site, owner):
    """The API, signed in as the owner, whose last weekly mail was that of 2026-03-02."""
    with tenancy.context(tenancy.SYSTEM):
        Subscription.objects.create(site=site, user=site.owner, last=date(2026, 3, 2))
    return owner


@pytest.fixture
def shop_events(site):
    """Six visitors of a shop on two days; visitors 1, 3 and 6 order."""
    write_visits(
        site,
        (0, 1, {"page": "/", "source": "Google"}),
        (1, 1, {"page": "/cart"}),
        (2, 1, order_fields("10.00", "EUR")),
        (3, 1, order_fields("2.50", "EUR")),
        (0, 2, {"page": "/"}),
        (1, 2, {"page": "/cart"}),
        (0, 3, {"page": "/cart"}),
        (1, 3, {"page": "/"}),
        (2, 3, order_fields("7.00", "USD")),
        (0, 4, {"page": "/"}),
        (0, 4, {"kind": Kind.ENGAGEMENT, "page": "/cart", "engaged": 900}),
        (24 * 60, 5, {"page": "/"}),
        (24 * 60 + 1, 6, order_fields("1.00", "EUR")),
    )
