import pytest

from analytics.ingest import settings_cache, string_dictionary, visitors
from analytics.partitions import event_partitions
from core import tenancy
from sites.tests.factories import SiteFactory


@pytest.fixture(autouse=True)
def nothing_known():
    """Tables are emptied between tests; what this process remembers of them goes, too."""
    string_dictionary.forget_known()
    event_partitions.forget_existing()
    settings_cache._entries.clear()
    visitors._salts.clear()


@pytest.fixture
def site(db):
    made = SiteFactory()
    with tenancy.context(tenancy.SYSTEM):
        made.refresh_from_db()
    return made
