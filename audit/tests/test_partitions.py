from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit import partitions

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
INSERT_ENTRY = """
    INSERT INTO audit_entry
    SELECT %s, 'x', 'system', null, 'x', null, null, null, null, '', '{}', '{}', now()
"""


def test_make_ahead_has_made_the_coming_months_and_no_default_partition(trail):
    names = partitions.existing()
    id_of_2019 = partitions.bound(datetime(2019, 1, 1, tzinfo=UTC))

    assert names[0] == partitions.name_of(timezone.now())
    assert len(names) >= partitions.AHEAD + 1
    assert partitions.make_ahead(timezone.now()) == 0
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(INSERT_ENTRY, [id_of_2019])
