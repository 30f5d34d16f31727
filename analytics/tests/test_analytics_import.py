"""The command `analytics_import`: repeated runs, interrupted runs, and files with invalid lines."""

import gzip
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError
from django.db import connection, transaction
from django.utils import timezone

from analytics.imports import events
from analytics.ingest import visitors, writer
from analytics.management.commands.analytics_import import site_lock
from analytics.models import Settings
from analytics.reports import event_sql, query
from analytics.tests.helpers import (
    IMPORT_DAY,
    UMAMI_HEADER,
    import_week_query,
    import_week_summary,
    log_line,
    run_import,
    umami_row,
)
from core import tenancy

pytestmark = pytest.mark.django_db


def random_log(count, seed=4):
    rng = random.Random(seed)
    at = IMPORT_DAY
    lines = []
    for _ in range(count):
        at += timedelta(seconds=rng.choice([0, 0, 1, 40]))
        lines.append(log_line(at, address=f"203.0.113.{rng.randrange(20)}", target=f"/{rng.randrange(4)}"))
    return lines


def list_import_day_events(site, *, limit):
    """The stored events from `IMPORT_DAY` on."""
    return event_sql.list_events(site.number, IMPORT_DAY, IMPORT_DAY + timedelta(days=2), limit=limit)


def test_analytics_import_of_a_log_counts_page_views_as_visits(site, tmp_path):
    path = tmp_path / "access.log"
    path.write_text(
        "".join(
            [
                log_line(IMPORT_DAY),
                log_line(IMPORT_DAY + timedelta(minutes=1), target="/menu?utm_source=letter"),
                log_line(IMPORT_DAY + timedelta(minutes=40), target="/menu/"),
                log_line(IMPORT_DAY, address="2001:db8::1", referrer="https://www.google.com/"),
                "www.example.com:443 " + log_line(IMPORT_DAY + timedelta(seconds=5), address="198.51.100.2"),
                log_line(IMPORT_DAY, target="/style.css"),
                log_line(IMPORT_DAY, target="/menu.html", status=404),
                log_line(IMPORT_DAY, method="POST"),
                log_line(IMPORT_DAY, user_agent="curl/8.0"),
                log_line(IMPORT_DAY, user_agent="Googlebot/2.1"),
                "nonsense\n",
                '"\x00\xff\n',
                log_line(IMPORT_DAY, target="http://[broken"),
                log_line(timezone.now() - timedelta(days=4000)),
                log_line(timezone.now() + timedelta(days=2)),
                "\n",
            ]
        ),
        errors="surrogateescape",
    )

    assert run_import(site, path, "log") == {
        "events added": 5,
        "lines that are not page views": 3,
        "lines of crawlers": 2,
        "lines that could not be parsed": 4,
        "left out: older than the retention period (ANALYTICS_KEEP_DAYS)": 1,
        "left out: in the future": 1,
    }
    metrics = import_week_summary(site)
    assert (metrics["visitors"], metrics["visits"], metrics["pageviews"]) == (3, 4, 5)


def test_analytics_import_of_a_log_adds_only_new_lines_the_second_time(site, tmp_path):
    lines = random_log(600)
    path = tmp_path / "access.log"
    compressed = tmp_path / "access.log.gz"
    path.write_text("".join(lines[:400]))
    compressed.write_bytes(gzip.compress("".join(lines).encode()))

    assert run_import(site, path, "log") == {"events added": 400}
    assert run_import(site, path, "log") == {"already imported": 400, "events added": 0}
    assert run_import(site, compressed, "log") == {"events added": 200, "already imported": 400}
    assert import_week_summary(site)["pageviews"] == 600


def test_analytics_import_continues_after_it_was_killed(site, tmp_path, monkeypatch):
    path = tmp_path / "access.log"
    path.write_text("".join(random_log(900)))
    monkeypatch.setattr(events, "BATCH_EVENTS", 100)
    original = writer.write_rows
    calls = []

    def write_or_interrupt(rows):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise KeyboardInterrupt
        original(rows)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_rows", write_or_interrupt)
        for _ in range(30):
            try:
                run_import(site, path, "log")
                break
            except KeyboardInterrupt:
                visitors._salts.clear()  # as in another process
    assert len(calls) > 9
    event_counts = Counter(event["visit"] for event in list_import_day_events(site, limit=2_000))
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_event WHERE site_number = %s", [site.number])
    run_import(site, path, "log")
    assert Counter(event["visit"] for event in list_import_day_events(site, limit=2_000)) == event_counts


def test_analytics_import_of_umami_adds_events_with_their_visits(site, tmp_path):
    path = tmp_path / "website_event.csv"
    path.write_text(
        "\n".join(
            [
                UMAMI_HEADER,
                umami_row(1, 1, IMPORT_DAY, referrer_domain="google.com"),
                umami_row(2, 1, IMPORT_DAY + timedelta(minutes=1), url_path="/menu/"),
                umami_row(3, 1, IMPORT_DAY + timedelta(minutes=2), event_type="2", event_name="Order"),
                umami_row(4, 2, IMPORT_DAY + timedelta(days=1)),
                umami_row(5, 1, IMPORT_DAY + timedelta(days=1)),
                umami_row(6, 3, IMPORT_DAY, created_at="yesterday"),
                umami_row(7, 3, IMPORT_DAY, url_path="javascript:1"),
                "incomplete,row",
            ]
        )
    )

    assert run_import(site, path, "umami") == {"events added": 5, "lines that could not be parsed": 3}
    assert run_import(site, path, "umami") == {
        "already imported": 5,
        "events added": 0,
        "lines that could not be parsed": 3,
    }
    metrics = import_week_summary(site)
    assert (metrics["visitors"], metrics["visits"], metrics["pageviews"], metrics["events"]) == (3, 3, 4, 1)
    with transaction.atomic():
        rows, _ = query.breakdown(import_week_query(site), "browser", limit=5)
    assert [(row["value"], row["visitors"]) for row in rows] == [("Chrome", 3)]


def test_analytics_import_separates_days_in_the_time_zone_of_the_site(site, tmp_path):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone="Pacific/Auckland")
    # 11:00 UTC is midnight or one o'clock in Auckland.
    midnight = datetime.combine(IMPORT_DAY.date(), datetime.min.time(), UTC) + timedelta(hours=11)
    path = tmp_path / "access.log"
    path.write_text(log_line(midnight - timedelta(hours=1)) + log_line(midnight + timedelta(hours=2)))

    run_import(site, path, "log")

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT visitor) FROM analytics_event WHERE site_number = %s", [site.number]
        )
        assert cursor.fetchone()[0] == 2, "one person on two days is two visitors"


def test_stable_id_of_a_log_line_does_not_depend_on_the_address(site, tmp_path):
    """An id computed from the address could be reversed by trying all addresses."""
    path = tmp_path / "access.log"
    path.write_text(log_line(IMPORT_DAY, address="203.0.113.77"))
    run_import(site, path, "log")
    first_event = list_import_day_events(site, limit=1)[0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT event_id FROM analytics_event WHERE site_number = %s", [site.number])
        event_id = cursor.fetchone()[0]
        cursor.execute("DELETE FROM analytics_event WHERE site_number = %s", [site.number])
        cursor.execute("DELETE FROM analytics_salt")
    visitors._salts.clear()
    path.write_text(log_line(IMPORT_DAY, address="198.51.100.1"))
    run_import(site, path, "log")

    with connection.cursor() as cursor:
        cursor.execute("SELECT event_id FROM analytics_event WHERE site_number = %s", [site.number])
        assert cursor.fetchone()[0] == event_id, "the id is equal for another address"
    assert list_import_day_events(site, limit=1)[0]["visitor"] != first_event["visitor"]


def test_analytics_import_leaves_out_days_beyond_the_retention_of_the_site(site, tmp_path):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, keep_days=10)
    path = tmp_path / "access.log"
    path.write_text(log_line(IMPORT_DAY))

    assert (
        run_import(site, path, "log")["left out: older than the retention period (ANALYTICS_KEEP_DAYS)"] == 1
    )


def test_analytics_import_of_logs_of_several_servers_adds_all(site, tmp_path):
    first = tmp_path / "a.log"
    second = tmp_path / "b.log"
    first.write_text(
        log_line(IMPORT_DAY, address="203.0.113.1") + log_line(IMPORT_DAY, address="203.0.113.2")
    )
    second.write_text(log_line(IMPORT_DAY, address="203.0.113.3"))

    assert run_import(site, first, "log", name="a")["events added"] == 2
    assert run_import(site, second, "log", name="b")["events added"] == 1
    assert run_import(site, second, "log", name="b")["already imported"] == 1


def test_analytics_import_with_host_leaves_out_other_hosts(site, tmp_path):
    log_path = tmp_path / "access.log"
    umami_path = tmp_path / "website_event.csv"
    log_path.write_text(
        "other.example:443 "
        + log_line(IMPORT_DAY, target="/private")
        + "www.bakery.example:443 "
        + log_line(IMPORT_DAY)
    )
    umami_path.write_text(
        "\n".join(
            [
                UMAMI_HEADER,
                umami_row(1, 1, IMPORT_DAY, hostname="other.example"),
                umami_row(2, 2, IMPORT_DAY, hostname="www.bakery.example"),
            ]
        )
    )

    assert run_import(site, log_path, "log", host="www.bakery.example") == {
        "events added": 1,
        "left out: not of the host in --host": 1,
    }
    assert run_import(site, umami_path, "umami", host="www.bakery.example") == {
        "events added": 1,
        "left out: not of the host in --host": 1,
    }


@pytest.fixture
def second_connection():
    """A second connection to the database."""
    from django.db import connections

    other_connection = connections.create_connection("default")
    yield other_connection
    other_connection.close()


def test_site_lock_refuses_a_second_import_of_the_site(site, tmp_path, second_connection):
    with second_connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext('analytics import'), %s)", [site.number])
    with pytest.raises(CommandError, match="Another import"), site_lock(site.number):
        pass
