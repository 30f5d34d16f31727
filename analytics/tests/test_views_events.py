"""The HTTP API of stored events, and of events that servers send (`views/events.py`)."""

import csv
import io
import json
from datetime import timedelta
from decimal import Decimal
from unittest.mock import Mock

import pytest
from django.utils import timezone

from analytics.ingest import stream
from analytics.tests.helpers import (
    CHROME,
    MARCH_DAYS,
    drain_all_shards,
    write_visits,
)
from core.storage import redis

pytestmark = pytest.mark.django_db


def test_events_returns_stored_events_as_csv_and_as_pages(site, owner, shop_events):
    base = f"sites/{site.pk}/analytics/events"
    response = owner.get(f"{base}?{MARCH_DAYS}&format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))

    assert len(rows) == 13
    assert response["Content-Disposition"] == 'attachment; filename="events-2026-03-01-2026-03-02.csv"'
    orders = [row for row in rows if row["name"] == "Order"]
    assert sum(Decimal(row["value"]) for row in orders) == Decimal("20.5")
    assert {row["source"] for row in rows} == {"", "Google"}
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)

    events = []
    link = f"/api/v1/{base}?{MARCH_DAYS}&limit=2"
    while link:
        page = owner.call("GET", link.replace("http://testserver", "")).json()
        events += page["results"]
        link = page["next"]
    assert len(events) == 13, "several events have the same time, and each is returned once"
    assert events[0]["kind"] == "custom"


def test_events_as_csv_is_complete_when_read_in_batches(site, owner, monkeypatch):
    from analytics.views import events as event_views

    write_visits(site, *[(number // 3, number, {}) for number in range(100)])
    monkeypatch.setattr(event_views, "CSV_BATCH_EVENTS", 7)

    response = owner.get(f"sites/{site.pk}/analytics/events?{MARCH_DAYS}&format=csv")

    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))
    assert len({row["visitor"] for row in rows}) == len(rows) == 100


def test_send_events_counts_events_of_servers(site, owner, monkeypatch):
    now = timezone.now()
    url = f"http://{site.subdomain}.localhost/paid"
    items = [
        {
            "name": "Order",
            "url": url,
            "revenue": {"amount": 12.5, "currency": "EUR"},
            "id": "00000000000000ff",
        },
        {"name": "Order", "url": url, "id": "00000000000000ff"},
        {
            "name": "pageview",
            "url": url,
            "timestamp": (now - timedelta(days=6)).isoformat(),
            "address": "203.0.113.9",
            "user_agent": CHROME,
        },
        {"name": "pageview", "url": url, "timestamp": (now - timedelta(days=8)).isoformat()},
        {"name": "pageview", "url": "http://elsewhere.example/", "referrer": ""},
    ]
    response = owner.post(f"sites/{site.pk}/events", items)

    assert (response.status_code, response.json()) == (
        202,
        {"accepted": 2, "dropped": {"too_old": 1, "other_host": 1, "duplicate": 1}},
    )
    drain_all_shards()
    metrics = owner.get(f"sites/{site.pk}/analytics/summary?period=7d").json()["metrics"]
    assert (metrics["pageviews"], metrics["events"], metrics["visitors"]) == (1, 1, 0), (
        "the salt of that day has expired, so the visit has no visitor"
    )
    item = {**items[2], "timestamp": now.isoformat()}
    assert owner.post(f"sites/{site.pk}/events", [item, item]).json()["accepted"] == 2
    drain_all_shards()
    metrics = owner.get(f"sites/{site.pk}/analytics/summary?period=7d").json()["metrics"]
    assert (metrics["pageviews"], metrics["events"], metrics["visitors"], metrics["visits"]) == (3, 1, 1, 1)
    with monkeypatch.context() as patch:
        patch.setattr(stream, "append_events", Mock(side_effect=redis.RedisUnavailable))
        assert owner.post(f"sites/{site.pk}/events", [item]).json()["accepted"] == 1, "written without Redis"
    assert owner.post(f"sites/{site.pk}/events", []).status_code == 400
    assert owner.post(f"sites/{site.pk}/events", items[:1] * 101).status_code == 400


def test_send_events_forms_visits_by_the_timestamps(site, owner):
    first_at = timezone.now() - timedelta(hours=5)
    items = [
        {
            "name": "pageview",
            "url": f"http://{site.subdomain}.localhost/{number}",
            "timestamp": (first_at + timedelta(hours=number)).isoformat(),
            "address": "203.0.113.9",
            "user_agent": CHROME,
        }
        for number in range(4)
    ]
    assert owner.post(f"sites/{site.pk}/events", items).json()["accepted"] == 4
    drain_all_shards()

    metrics = owner.get(f"sites/{site.pk}/analytics/summary?period=7d").json()["metrics"]

    assert (metrics["visits"], metrics["visit_duration"]) == (4, 0)


def test_events_have_their_properties_as_an_object(site, owner):
    properties = {"plan": "pro", "seats": 3}
    write_visits(site, (0, 1, {"page": "/", "props": properties}), (1, 1, {"page": "/next"}))
    base = f"sites/{site.pk}/analytics/events?{MARCH_DAYS}"

    page = owner.get(base).json()["results"]
    response = owner.get(f"{base}&format=csv")
    rows = list(csv.DictReader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))

    assert [event["properties"] for event in page] == [None, properties]
    assert [row["properties"] and json.loads(row["properties"]) for row in rows] == [properties, ""]
