"""Announcements of host changes through the Redis stream. `core/tests` has those of the periodic job."""

import pytest
from django.db import transaction

from audit.actors import SYSTEM
from core import tenancy
from core.storage import redis
from sites import change_stream
from sites.models import Announcement
from sites.services import publishing
from sites.tests.visitor import publish

pytestmark = pytest.mark.django_db


@pytest.mark.commits
def test_announce_host_change_sends_nothing_when_its_transaction_rolls_back():
    site, _ = publish()
    before = redis.client().xlen(change_stream.STREAM)

    with tenancy.context(tenancy.SYSTEM):
        publishing.unpublish_site(site, actor=SYSTEM)
        transaction.set_rollback(True)

    with tenancy.context(tenancy.SYSTEM):
        assert (redis.client().xlen(change_stream.STREAM), Announcement.objects.count()) == (before, 0)
