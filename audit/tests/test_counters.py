import json
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from audit import refusal_counters
from audit.models import Entry

pytestmark = pytest.mark.django_db


def refused():
    return [
        (entry.actor_id, json.loads(entry.facts))
        for entry in Entry.objects.filter(event="request.refused").order_by("id")
    ]


@pytest.mark.commits
def test_a_flood_becomes_one_entry_for_each_principal_route_and_minute(trail, api, settings):
    start = datetime.now(UTC)
    settings.RATE_LIMIT = 1
    for _ in range(5):
        api.get("config")
    for _ in range(3):
        Client(REMOTE_ADDR="198.51.100.30").get("/api/v1/sites", headers={"Authorization": "Bearer x"})

    for minutes in range(5):  # the counts may fall into two minutes
        refusal_counters.record_counted_refusals(now=start + timedelta(minutes=minutes))
        refusal_counters.record_counted_refusals(now=start + timedelta(minutes=minutes))

    by_code = {}
    for actor, facts in refused():
        by_code.setdefault((actor, facts["code"]), []).append(facts["count"])
    assert sum(by_code[api.user.pk, "too_many_requests"]) == 4
    assert sum(by_code[None, "token_invalid"]) + sum(by_code.get((None, "too_many_requests"), [])) == 3
    assert len(refused()) <= 6
