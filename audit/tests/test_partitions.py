from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from audit.chain.partitions import entry_partitions, lowest_id

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
INSERT_ENTRY = """
    INSERT INTO audit_entry
    SELECT %s, 'x', 'system', null, 'x', null, null, null, null, '', '{}', '{}', now()
"""


def test_entry_partitions_exist_for_the_coming_months_without_a_default_partition(trail):
    current_name = entry_partitions.name_of(timezone.now())
    names = [
        name for name in entry_partitions.names() if name >= current_name
    ]  # without those of other tests
    id_of_2019 = lowest_id(datetime(2019, 1, 1, tzinfo=UTC))

    assert names[0] == current_name
    assert len(names) >= entry_partitions.months_ahead + 1
    assert entry_partitions.create_ahead(timezone.now()) == 0
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(INSERT_ENTRY, [id_of_2019])
