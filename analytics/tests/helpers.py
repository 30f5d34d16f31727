"""Helpers of several test modules of analytics: they write events, call the intake and run imports."""

import io
import json
import random
import re
import zipfile
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from analytics.ingest import intake, stream, writer
from analytics.ingest.stream import Event
from analytics.models import Kind, Settings
from analytics.reports import query
from analytics.time_zones import DateRange, day_bounds, local_day
from core import tenancy
from core.models import Mail
from sites.serving.host_routing import Route

CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/130.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.5 Mobile/15E148 Safari/604.1"
)
ADDRESS = "203.0.113.77"
# The days of `write_visits()` as parameters of a report.
MARCH_DAYS = "from=2026-03-01&to=2026-03-02"
# A Monday on which the subscriber of the fixture receives a weekly mail.
MONDAY = datetime(2026, 3, 9, 7, 30, tzinfo=UTC)
# The day of imported events. It is recent enough to be kept.
IMPORT_DAY = (timezone.now() - timedelta(days=20)).replace(hour=9, minute=0, second=0, microsecond=0)
UMAMI_HEADER = (
    "website_id,session_id,visit_id,event_id,hostname,browser,os,device,language,country,region,url_path,"
    "url_query,referrer_path,referrer_domain,event_type,event_name,created_at"
)
PLAUSIBLE_VISITORS_HEADER = "date,visitors,pageviews,bounces,visits,visit_duration"


def to_packed(event):
    """The event as `writer.write_rows()` takes it."""
    return json.loads(event.to_json())


def write_rows(rows):
    with transaction.atomic():
        writer.write_rows(rows)


def write_events(site, *events):
    """Write events given as `(time, visitor, visit, fields)`; by default they are views of the page `/`."""
    rows = []
    for number, (at, visitor, visit, fields) in enumerate(events):
        event = Event(
            site.number, **{"kind": Kind.PAGEVIEW, "page": "/", **fields}, id=number + 1, visitor=visitor
        )
        rows.append((at, visit, to_packed(event)))
    write_rows(rows)


def write_visits(site, *events):
    """Write events given as `(minute, visitor, fields)`, one visit for each visitor.

    Minutes are counted from 2026-03-01 10:00 UTC.
    """
    start = datetime(2026, 3, 1, 10, tzinfo=UTC)
    write_events(
        site,
        *[
            (start + timedelta(minutes=minute), visitor, visitor, fields)
            for minute, visitor, fields in events
        ],
    )


def minutes_from_march(at):
    """The time `at` as `write_visits()` takes it."""
    return int((at - datetime(2026, 3, 1, 10, tzinfo=UTC)).total_seconds() // 60)


def order_fields(value, currency, **fields):
    """The fields of an event "Order" with revenue."""
    return {
        "kind": Kind.CUSTOM,
        "name": "Order",
        "value": value,
        "currency": currency,
        "page": "/paid",
        **fields,
    }


def drain_all_shards():
    """Write the events of all streams; return how many."""
    return sum(writer.drain_shard(shard) for shard in range(stream.SHARDS))


def count_events(site):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM analytics_event WHERE site_number = %s", [site.number])
        return cursor.fetchone()[0]


def count_rows(site):
    """The number of events, of distinct ids and of distinct visits."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), count(DISTINCT event_id), count(DISTINCT session)
            FROM analytics_event
            WHERE site_number = %s""",
            [site.number],
        )
        return cursor.fetchone()


def build_page_view(site_number, event_id, *, visitor=None, page="/", **fields):
    return Event(site_number, Kind.PAGEVIEW, page, id=event_id, is_repeatable=True, visitor=visitor, **fields)


def read_stored_events(site):
    """Drain the streams; return the events of a site with the texts of their terms."""
    drain_all_shards()
    columns = "page, source, utm_campaign, country, browser, os, device, language, name"
    texts = ", ".join(
        f"(SELECT text FROM analytics_term t WHERE t.id = e.{name.strip()}) AS {name}"
        for name in columns.split(",")
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT kind, visitor, session, engaged, props, {texts}
            FROM analytics_event e
            WHERE site_number = %s
            ORDER BY created_at, event_id""",
            [site.number],
        )
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def set_time_zone(site, zone):
    with tenancy.context(tenancy.SYSTEM):
        Settings.objects.create(site=site, timezone=zone)


def random_rows(site, zone, count, *, first, last, seed):
    """Random events of the days from `first` to `last`.

    As in the intake, no visitor comes on two days. One event in ten has no visitor.
    """
    rng = random.Random(seed)
    since, until = day_bounds(first, last, zone)
    rows = []
    for number in range(count):
        at = since + (until - since) * rng.random()
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        has_visitor = rng.random() < 0.9
        visitor = local_day(at, zone).toordinal() * 1_000 + rng.randrange(40) if has_visitor else None
        kind = rng.choice([Kind.PAGEVIEW] * 6 + [Kind.CUSTOM, Kind.OUTBOUND, Kind.DOWNLOAD, Kind.ENGAGEMENT])
        event = Event(
            site.number,
            kind,
            f"/{rng.randrange(12)}",
            id=number + 1,
            at=at,
            visitor=visitor,
            name=rng.choice(["Sign up", "Buy"]) if kind == Kind.CUSTOM else "",
            source=rng.choice(["", "Google", "X"]),
            referrer=rng.choice(["", "google.com"]),
            utm=(rng.choice(["", "mail"]), "", rng.choice(["", "may"]), "", ""),
            country=rng.choice(["", "DE", "FR"]),
            browser=rng.choice(["Chrome", "Firefox"]),
            os=rng.choice(["iOS", ""]),
            device="mobile",
            language=rng.choice(["", "de"]),
            engaged=rng.randrange(1, 9_999) if kind == Kind.ENGAGEMENT else None,
        )
        visit = None if visitor is None else visitor * 10 + rng.randrange(2)
        rows.append((at, visit, to_packed(event)))
    return rows


# --- HTTP API ---


def create_definition(owner, site, *conditions, kind="goals", name="Goal"):
    """Save a goal, segment or funnel; return its id."""
    response = owner.post(f"sites/{site.pk}/analytics/{kind}", {"name": name, "conditions": list(conditions)})
    assert response.status_code == 201, response.content
    return response.json()["id"]


def create_share(owner, site, **fields):
    """Create a link; return its representation."""
    response = owner.post(f"sites/{site.pk}/analytics/shares", {"name": "For the board", **fields})
    assert response.status_code == 201, response.content
    return response.json()


def share_path(share):
    """The path of the URL of a link."""
    return re.sub(r"^https?://[^/]+", "", share["url"])


def weekly_mails():
    return Mail.objects.filter(template="weekly")


# --- intake ---


def send_to_intake(site, body, *, method="POST", user_agent=CHROME, address=ADDRESS, **headers):
    """Call the intake; return its status, the reasons of drops, and its body."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    environ = {
        "REQUEST_METHOD": method,
        "HTTP_HOST": "shop.localhost:8000",
        "HTTP_USER_AGENT": user_agent,
        "REMOTE_ADDR": address,
        "wsgi.input": io.BytesIO(content),
        **headers,
    }
    route = Route(0, UUID(str(site.pk)), UUID(int=1), "", number=site.number)
    status, response_headers, response_body = intake.handle_request(environ, route)
    return int(status[:3]), dict(response_headers).get("X-Drop", ""), response_body


def page_view(path="/", **fields):
    """A page view as the tracking script sends it."""
    return {"n": "pageview", "u": f"http://shop.localhost:8000{path}", **fields}


# --- imports ---


def run_import(site, path, source, **options):
    """Run `analytics_import`; return the counts of its output by their label."""
    output = io.StringIO()
    call_command(
        "analytics_import",
        site.subdomain,
        str(path),
        "--from",
        source,
        stdout=output,
        verbosity=0,
        **options,
    )
    return {line[11:].strip(): int(line[:10].replace(",", "")) for line in output.getvalue().splitlines()}


def import_week_query(site):
    """The week around `IMPORT_DAY`."""
    day = IMPORT_DAY.date()
    return query.Query(DateRange(site.number, "UTC", day - timedelta(days=3), day + timedelta(days=3)))


def import_week_summary(site):
    with transaction.atomic():
        return query.summary(import_week_query(site))


def log_line(
    at, *, address="203.0.113.7", target="/", status=200, referrer="-", user_agent=CHROME, method="GET"
):
    """A line of an access log."""
    return (
        f"{address} - - [{at:%d/%b/%Y:%H:%M:%S +0000}] "
        f'"{method} {target} HTTP/1.1" {status} 512 "{referrer}" "{user_agent}"\n'
    )


def umami_row(number, session, at, **fields):
    """A row of Umami's `website_event.csv`."""
    values = {
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
        **fields,
    }
    return ",".join(values[name] for name in UMAMI_HEADER.split(","))


def plausible_export(tmp_path, **tables):
    """A zip archive as Plausible exports it, with the given tables."""
    path = tmp_path / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in tables.items():
            archive.writestr(f"imported_{name}_20240101_20240102.csv", text)
        archive.writestr("readme.csv", "hello")
    return path


def plausible_visitors(*rows):
    """The table `imported_visitors`; rows are without their line breaks."""
    return "".join(f"{line}\n" for line in (PLAUSIBLE_VISITORS_HEADER, *rows))
