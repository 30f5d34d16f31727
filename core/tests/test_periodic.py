from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from core.jobs import periodic

NOW = datetime(2030, 1, 1, 12, 0, tzinfo=UTC)


@pytest.mark.django_db
@pytest.mark.commits
def test_claim_slot_gives_each_slot_to_one_of_parallel_callers():
    def claim_at_minute(minute):
        try:
            return periodic.claim_slot(
                "tidy", every=timedelta(minutes=5), now=NOW + timedelta(minutes=minute)
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(claim_at_minute, [0, 1, 2, 3, 4, 4, 3, 0]))
        second = list(pool.map(claim_at_minute, [5, 6, 9, 9, 5]))

    assert (first.count(True), second.count(True)) == (1, 1)
    assert not claim_at_minute(4)  # a clock that steps back must not claim an earlier slot again
