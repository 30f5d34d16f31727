"""Monthly partitions: bounds, creation in parallel, and dropping what is old."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from django.db import connection, connections

from core.storage.partitions import MonthlyPartitions, month_start


@pytest.mark.parametrize(
    ("moment", "months_later", "expected"),
    [
        (datetime(2026, 1, 31, 23, 59, tzinfo=UTC), 0, datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 31, tzinfo=UTC), 1, datetime(2026, 2, 1, tzinfo=UTC)),
        (datetime(2026, 12, 1, tzinfo=UTC), 1, datetime(2027, 1, 1, tzinfo=UTC)),
        (datetime(2026, 1, 1, tzinfo=UTC), -1, datetime(2025, 12, 1, tzinfo=UTC)),
        (datetime(2026, 3, 1, tzinfo=UTC), -15, datetime(2024, 12, 1, tzinfo=UTC)),
    ],
)
def test_month_start_counts_months_across_years(moment, months_later, expected):
    assert month_start(moment, months_later) == expected


@pytest.fixture
def partitions(transactional_db):
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE reading (at timestamptz, PRIMARY KEY (at)) PARTITION BY RANGE (at)")
    yield MonthlyPartitions("reading", months_ahead=2)
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE reading")


@pytest.mark.commits
def test_create_ahead_creates_this_month_and_the_next_ones_once(partitions):
    now = datetime(2026, 11, 30, tzinfo=UTC)

    assert partitions.create_ahead(now) == 3
    assert partitions.create_ahead(now) == 0
    assert partitions.names() == ["reading_202611", "reading_202612", "reading_202701"]


@pytest.mark.commits
def test_create_makes_one_partition_for_many_callers_at_once(partitions):
    moment = datetime(2026, 5, 17, tzinfo=UTC)

    def create(_):
        try:
            return partitions.create(moment)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(create, range(4))) == [False, False, False, True]


@pytest.mark.commits
def test_create_missing_asks_the_database_only_for_months_it_has_not_seen(
    partitions, django_assert_num_queries
):
    moments = {datetime(2026, 5, 17, tzinfo=UTC), datetime(2026, 5, 18, tzinfo=UTC)}
    partitions.create_missing(moments)

    with django_assert_num_queries(0):
        partitions.create_missing(moments)


@pytest.mark.commits
def test_drop_before_drops_the_months_that_are_over(partitions):
    for month in (1, 2, 3):
        partitions.create(datetime(2026, month, 1, tzinfo=UTC))

    assert partitions.drop_before(datetime(2026, 2, 28, tzinfo=UTC)) == ["reading_202601"]
    assert partitions.drop_before(datetime(2026, 3, 1, tzinfo=UTC)) == ["reading_202602"]
    assert partitions.names() == ["reading_202603"]
