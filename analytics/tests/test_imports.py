"""What was counted elsewhere comes in once: run twice, killed half-way, from a log that has grown, with lines
of nonsense.
"""

import gzip
import io
import random
import zipfile
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from analytics.imports import events
from analytics.ingest import visitors, writer
from analytics.models import Settings
from analytics.reports import event_sql, query, rollups
from analytics.reports.time_zones import DateRange
from analytics.tests.test_saved import put
from core import tenancy

pytestmark = pytest.mark.django_db
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
DAY = (timezone.now() - timedelta(days=20)).replace(hour=9, minute=0, second=0, microsecond=0)


def run(site, path, source, **options):
    """The command; what it said, by sentence."""
    said = io.StringIO()
    call_command(
        "analytics_import", site.subdomain, str(path), "--from", source, stdout=said, verbosity=0, **options
    )
    return {line[11:].strip(): int(line[:10].replace(",", "")) for line in said.getvalue().splitlines()}


def week(site, **more):
    return query.Query(
        DateRange(site.number, "UTC", DAY.date() - timedelta(days=3), DAY.date() + timedelta(days=3)), **more
    )


def summary(site):
    with transaction.atomic():
        return query.summary(week(site))


def line(at, *, address="203.0.113.7", target="/", status=200, referrer="-", agent=BROWSER, method="GET"):
    return f'{address} - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "{method} {target} HTTP/1.1" {status} 512 "{referrer}" "{agent}"\n'


def a_log(count, seed=4):
    draw = random.Random(seed)
    at = DAY
    lines = []
    for _ in range(count):
        at += timedelta(seconds=draw.choice([0, 0, 1, 40]))
        lines.append(line(at, address=f"203.0.113.{draw.randrange(20)}", target=f"/{draw.randrange(4)}"))
    return lines


def test_lines_of_a_log_become_visits(site, tmp_path):
    path = tmp_path / "access.log"
    path.write_text(
        "".join(
            [
                line(DAY),
                line(DAY + timedelta(minutes=1), target="/menu?utm_source=letter"),
                line(DAY + timedelta(minutes=40), target="/menu/"),
                line(DAY, address="2001:db8::1", referrer="https://www.google.com/"),
                "www.example.com:443 " + line(DAY + timedelta(seconds=5), address="198.51.100.2"),
                line(DAY, target="/style.css"),
                line(DAY, target="/menu.html", status=404),
                line(DAY, method="POST"),
                line(DAY, agent="curl/8.0"),
                line(DAY, agent="Googlebot/2.1"),
                "nonsense\n",
                '"\x00\xff\n',
                line(DAY, target="http://[broken"),
                line(timezone.now() - timedelta(days=4000)),
                line(timezone.now() + timedelta(days=2)),
                "\n",
            ]
        ),
        errors="surrogateescape",
    )

    assert run(site, path, "log") == {
        "events added": 5,
        "lines that are not page views": 3,
        "lines of crawlers": 2,
        "lines that could not be parsed": 4,
        "left out: older than events are kept here (ANALYTICS_KEEP_DAYS)": 1,
        "left out: in the future": 1,
    }
    found = summary(site)
    assert (found["visitors"], found["visits"], found["pageviews"]) == (3, 4, 5)


def test_a_second_run_and_a_log_that_has_grown_add_what_is_new(site, tmp_path):
    lines = a_log(600)
    path = tmp_path / "access.log"
    packed = tmp_path / "access.log.gz"
    path.write_text("".join(lines[:400]))
    packed.write_bytes(gzip.compress("".join(lines).encode()))

    assert run(site, path, "log") == {"events added": 400}
    assert run(site, path, "log") == {"already imported": 400, "events added": 0}
    assert run(site, packed, "log") == {"events added": 200, "already imported": 400}
    assert summary(site)["pageviews"] == 600


def test_a_run_that_is_killed_goes_on_as_if_it_had_not_been(site, tmp_path, monkeypatch):
    path = tmp_path / "access.log"
    path.write_text("".join(a_log(900)))
    monkeypatch.setattr(events, "BATCH_EVENTS", 100)
    genuine = writer.write_rows
    calls = []

    def killed(rows):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise KeyboardInterrupt
        genuine(rows)

    with monkeypatch.context() as patch:
        patch.setattr(writer, "write_rows", killed)
        for _ in range(30):
            try:
                run(site, path, "log")
                break
            except KeyboardInterrupt:
                visitors._salts.clear()  # another process knows none
    assert len(calls) > 9
    visits = Counter(
        row["visit"] for row in event_sql.list_events(site.number, DAY, DAY + timedelta(days=2), limit=2_000)
    )
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_event WHERE site_number = %s", [site.number])
    run(site, path, "log")
    assert (
        Counter(
            row["visit"]
            for row in event_sql.list_events(site.number, DAY, DAY + timedelta(days=2), limit=2_000)
        )
        == visits
    )


UMAMI = "website_id,session_id,visit_id,event_id,hostname,browser,os,device,language,country,region,url_path,url_query,referrer_path,referrer_domain,event_type,event_name,created_at"


def umami_row(number, session, at, **given):
    facts = {
        "website_id": "w",
        "session_id": f"s{session}",
        "visit_id": f"v{session}",
        "event_id": f"{number:08x}-1111-4222-8333-444444444444",
        "hostname": "x",
        "browser": "chrome",
        "os": "Windows 10",
        "device": "laptop",
        "language": "de-DE",
        "country": "DE",
        "region": "DE-BE",
        "url_path": "/",
        "url_query": "",
        "referrer_path": "",
        "referrer_domain": "",
        "event_type": "1",
        "event_name": "",
        "created_at": f"{at:%Y-%m-%d %H:%M:%S}",
        **given,
    }
    return ",".join(facts[name] for name in UMAMI.split(","))


def test_umamis_events_come_in_with_their_visits(site, tmp_path):
    path = tmp_path / "website_event.csv"
    path.write_text(
        "\n".join(
            [
                UMAMI,
                umami_row(1, 1, DAY, referrer_domain="google.com"),
                umami_row(2, 1, DAY + timedelta(minutes=1), url_path="/menu/"),
                umami_row(3, 1, DAY + timedelta(minutes=2), event_type="2", event_name="Order"),
                umami_row(4, 2, DAY + timedelta(days=1)),
                umami_row(5, 1, DAY + timedelta(days=1)),
                umami_row(6, 3, DAY, created_at="yesterday"),
                umami_row(7, 3, DAY, url_path="javascript:1"),
                "torn,row",
            ]
        )
    )

    assert run(site, path, "umami") == {"events added": 5, "lines that could not be parsed": 3}
    assert run(site, path, "umami") == {
        "already imported": 5,
        "events added": 0,
        "lines that could not be parsed": 3,
    }
    found = summary(site)
    assert (found["visitors"], found["visits"], found["pageviews"], found["events"]) == (3, 3, 4, 1)
    with transaction.atomic():
        rows, _ = query.breakdown(week(site), "browser", limit=5)
    assert [(row["value"], row["visitors"]) for row in rows] == [("Chrome", 3)]


def plausible(tmp_path, **tables):
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in tables.items():
            archive.writestr(f"imported_{name}_20240101_20240102.csv", text)
        archive.writestr("readme.csv", "hello")
    return path


def days_of_plausible(tmp_path):
    one, two = (f"{DAY.date() + timedelta(days=number)}" for number in range(2))
    return plausible(
        tmp_path,
        visitors=f'"date","visitors","pageviews","bounces","visits","visit_duration"\n{one},10,30,4,12,600\n{two},5,8,2,6,90\n',
        pages=f"date,hostname,page,visits,visitors,pageviews,total_time_on_page\n{one},x,/,12,10,20,100\n{one},x,/menu/,6,5,10,50\n{two},x,/,6,5,8,9\n",
        sources=f"date,source,utm_medium,visitors,visits,visit_duration,bounces\n{one},Google,,6,7,300,2\n{one},,mail,4,5,300,2\n",
        locations=f"date,country,region,city,visitors,visits,visit_duration,bounces\n{one},DE,DE-BE,2950159,10,12,600,4\n",
        custom_events=f"date,name,link_url,path,visitors,events\n{one},Order,,/,3,4\n",
    )


def test_plausibles_days_stay_as_they_were(site, tmp_path):
    path = days_of_plausible(tmp_path)

    for _ in range(2):
        assert run(site, path, "plausible") == {
            "days of sums imported": 2,
            "days left out: they have events of their own": 0,
        }
        found = summary(site)
        assert (found["visitors"], found["visits"], found["pageviews"], found["visit_duration"]) == (
            15,
            18,
            38,
            38,
        )
    with transaction.atomic():
        pages, _ = query.breakdown(week(site), "page", limit=5)
        sources, _ = query.breakdown(week(site), "source", limit=5)
    assert [(row["value"], row["pageviews"]) for row in pages] == [("/", 28), ("/menu", 10)]
    assert [(row["value"], row["visitors"]) for row in sources] == [("Google", 6), (None, 4)]


def test_days_with_visits_of_their_own_are_not_replaced(site, tmp_path):
    log = tmp_path / "access.log"
    log.write_text(line(DAY))
    run(site, log, "log")
    told = run(site, days_of_plausible(tmp_path), "plausible")

    assert told == {"days of sums imported": 1, "days left out: they have events of their own": 1}
    assert summary(site)["visitors"] == 1 + 5
    log.write_text(line(DAY + timedelta(days=1)))
    assert run(site, log, "log") == {"left out: sums of that day were imported": 1, "events added": 0}


def test_a_late_event_on_an_imported_day_does_not_take_its_sums_away(site, tmp_path):
    run(site, days_of_plausible(tmp_path), "plausible")
    minute = int((DAY - datetime(2026, 3, 1, 10, tzinfo=UTC)).total_seconds() // 60)
    put(site, (minute, 1, {}))
    rollups.rebuild_dirty_days()

    assert summary(site)["visitors"] == 15


@pytest.mark.parametrize(
    ("name", "source", "says"),
    [
        ("x.csv", "plausible", "imported_visitors"),
        ("imported_visitors.csv", "plausible", "no column `date`"),
        ("missing.log", "log", "Not a file"),
    ],
)
def test_what_cannot_be_read_is_said_and_changes_nothing(site, tmp_path, name, source, says):
    if name != "missing.log":
        (tmp_path / name).write_text("a,b\n1,2\n")

    with pytest.raises(CommandError, match=says):
        run(site, tmp_path / name, source)
    assert summary(site)["visitors"] == 0


def test_a_days_border_is_the_sites(site, tmp_path):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone="Pacific/Auckland")
    midnight = datetime.combine(DAY.date(), datetime.min.time(), UTC) + timedelta(
        hours=11
    )  # midnight or one in Auckland
    path = tmp_path / "access.log"
    path.write_text(line(midnight - timedelta(hours=1)) + line(midnight + timedelta(hours=2)))

    run(site, path, "log")

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(DISTINCT visitor) FROM analytics_event WHERE site_number = %s", [site.number]
        )
        assert cursor.fetchone()[0] == 2, "somebody on two days is two"


def test_no_address_is_in_what_is_kept(site, tmp_path):
    """Not even as the id of an event, of which somebody could try all addresses."""
    path = tmp_path / "access.log"
    path.write_text(line(DAY, address="203.0.113.77"))
    run(site, path, "log")
    first = event_sql.list_events(site.number, DAY, DAY + timedelta(days=1), limit=1)[0]
    with connection.cursor() as cursor:
        cursor.execute("SELECT event_id FROM analytics_event WHERE site_number = %s", [site.number])
        number = cursor.fetchone()[0]
        cursor.execute("DELETE FROM analytics_event WHERE site_number = %s", [site.number])
        cursor.execute("DELETE FROM analytics_salt")
    visitors._salts.clear()
    path.write_text(line(DAY, address="198.51.100.1"))
    run(site, path, "log")

    with connection.cursor() as cursor:
        cursor.execute("SELECT event_id FROM analytics_event WHERE site_number = %s", [site.number])
        assert cursor.fetchone()[0] == number, "the same for another address"
    assert (
        event_sql.list_events(site.number, DAY, DAY + timedelta(days=1), limit=1)[0]["visitor"]
        != first["visitor"]
    )
