import gzip
import json
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from audit.actors import SYSTEM
from audit.chain.partitions import entry_partitions, lowest_id
from audit.chain.verification import verify_trail
from audit.models import Stub
from audit.retention import MonthNotDroppable, archive_and_drop_month
from audit.services import record
from audit.subjects import Subject
from audit.tests.trail_helpers import seal_all, seal_sign_and_store
from core.storage import object_store
from core.storage.partitions import month_start

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
INSERT_OLD_ENTRY = """
    WITH entry AS (
        INSERT INTO audit_entry
        VALUES (
            %(id)s, 'old.thing', 'system', null, 'thing', null, null, null, null, '', '{}', '{}', %(at)s
        )
    )
    INSERT INTO audit_pending VALUES (%(id)s, %(at)s)
"""


@pytest.fixture
def old_month(trail):
    """The name of a partition of last year with ten entries that are not sealed."""
    start = month_start(timezone.now(), -12)
    entry_partitions.create(start)
    first_id = lowest_id(start).int
    with connection.cursor() as cursor:
        for number in range(10):
            cursor.execute(INSERT_OLD_ENTRY, {"id": str(UUID(int=first_id + number)), "at": start})
    return entry_partitions.name_of(start)


def test_archive_and_drop_month_exports_without_personal_values_and_keeps_the_chain_valid(
    old_month, superuser
):
    now = timezone.now()
    record("new.thing", actor=SYSTEM, subject=Subject("thing", label="ada@example.com"))
    seal_sign_and_store()

    archive_and_drop_month(old_month, now=now)

    result = verify_trail(now=now)
    assert (result.good, result.dropped) == (True, 10)
    assert old_month not in entry_partitions.names()
    assert json.loads(Stub.objects.get().document)["entries"] == 10
    (key,) = object_store.object_store().keys("audit/exports/")
    archive = gzip.decompress(object_store.object_store().read(key))
    assert (b"new.thing" in archive, b"ada@example.com" in archive) == (True, False)
    superuser.execute(
        "UPDATE audit_stub SET document = replace(document, '\"entries\": 10', '\"entries\": 11')"
    )
    assert verify_trail(now=now).fault["kind"] == "stub"


def test_archive_and_drop_month_refuses_a_month_that_is_not_sealed_signed_or_over(old_month):
    now = timezone.now()

    with pytest.raises(MonthNotDroppable, match="not sealed"):
        archive_and_drop_month(old_month, now=now)
    seal_all()
    with pytest.raises(MonthNotDroppable, match="checkpoint"):
        archive_and_drop_month(old_month, now=now)
    with pytest.raises(MonthNotDroppable, match="over"):
        archive_and_drop_month(entry_partitions.name_of(now), now=now)
