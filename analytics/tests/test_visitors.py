"""Ids of visitors, and the salts that they depend on."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone

from analytics.ingest import visitors
from analytics.tests.helpers import (
    ADDRESS,
    CHROME,
    IPHONE,
    page_view,
    read_stored_events,
    send_to_intake,
)

pytestmark = pytest.mark.django_db


def test_compute_visitor_id_is_the_same_for_one_day_and_one_site(site):
    for path in ("/", "/menu"):
        send_to_intake(site, page_view(path))
    send_to_intake(site, page_view("/"), address="203.0.113.78")
    send_to_intake(site, page_view("/"), user_agent=IPHONE)

    rows = read_stored_events(site)
    assert len({row["visitor"] for row in rows}) == 3
    assert len({row["session"] for row in rows}) == 3
    day = datetime(2026, 3, 3, 12, tzinfo=UTC)
    ids = {
        visitors.compute_visitor_id(number, zone, address=ADDRESS, user_agent=CHROME, host="x", now=now)
        for number, zone, now in [
            (site.number, "UTC", day),
            (site.number, "UTC", day.replace(day=4)),
            (site.number + 1, "UTC", day),
        ]
    }
    assert len(ids) == 3


def test_compute_visitor_id_is_equal_in_two_processes_until_delete_expired_salts(site):
    now = timezone.now()
    arguments = {"address": ADDRESS, "user_agent": CHROME, "host": "x", "now": now}
    first = visitors.compute_visitor_id(site.number, "UTC", **arguments)
    visitors._salts.clear()  # as in another process
    assert visitors.compute_visitor_id(site.number, "UTC", **arguments) == first

    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    for hours, salt_count in ((49.9, 1), (50.1, 0)):  # 24 hours of the day, and 26 hours after it
        visitors.delete_expired_salts(now=midnight + timedelta(hours=hours))
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM analytics_salt WHERE site_number = %s", [site.number])
            assert cursor.fetchone()[0] == salt_count
    visitors._salts.clear()
    assert visitors.compute_visitor_id(site.number, "UTC", **arguments) != first
