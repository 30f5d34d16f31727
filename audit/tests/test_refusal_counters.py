import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from audit import refusal_counters
from audit.models import Entry

pytestmark = pytest.mark.django_db


def recorded_refusals():
    """Return actor id and details of the recorded refusals, oldest first."""
    return [
        (entry.actor_id, json.loads(entry.facts))
        for entry in Entry.objects.filter(event="request.refused").order_by("id")
    ]


@pytest.mark.commits
def test_record_counted_refusals_writes_one_entry_for_each_principal_route_and_minute(trail, api, settings):
    start = datetime.now(UTC)
    settings.RATE_LIMIT = 1
    for _ in range(5):
        api.get("config")
    for _ in range(3):
        Client(REMOTE_ADDR="198.51.100.30").get("/api/v1/sites", headers={"Authorization": "Bearer x"})

    for minutes in range(5):  # the requests may fall into two minutes
        for _ in range(2):
            refusal_counters.record_counted_refusals(now=start + timedelta(minutes=minutes))

    counts = {}
    for actor_id, details in recorded_refusals():
        counts.setdefault((actor_id, details["code"]), []).append(details["count"])
    assert sum(counts[api.user.pk, "too_many_requests"]) == 4
    assert sum(counts[None, "token_invalid"]) + sum(counts.get((None, "too_many_requests"), [])) == 3
    assert len(recorded_refusals()) <= 6
