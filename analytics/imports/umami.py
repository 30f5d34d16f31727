"""Parses events that Umami exported."""

import csv
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from analytics.imports.events import (
    ImportedEvent,
    ImportTarget,
    get_or_create_import_salt,
    parse_page,
    stable_id,
)
from analytics.ingest import referrers, visitors
from analytics.ingest.stream import Event
from analytics.models import Kind
from analytics.time_zones import local_day

CUSTOM_EVENT_TYPE = "2"
# Names of browsers in Umami, and the names that user agents are parsed to here.
BROWSER_NAMES = {
    "chrome": "Chrome",
    "crios": "Chrome",
    "safari": "Safari",
    "ios": "Safari",
    "firefox": "Firefox",
    "fxios": "Firefox",
    "edge": "Edge",
    "edge-chromium": "Edge",
    "opera": "Opera",
    "samsung": "Samsung Internet",
}
DEVICE_NAMES = {"laptop": "desktop"}


def parse_umami_csv(target: ImportTarget, lines: Iterable[str]) -> Iterator[ImportedEvent]:
    """The events of a `website_event.csv`.

    Umami's sessions last a month. Here each of them becomes one visitor a day. Rows that cannot be parsed are
    counted as `unreadable`.
    """
    for row in csv.DictReader(lines):
        try:
            at = datetime.fromisoformat(row["created_at"].strip().replace(" UTC", "+00:00"))
            at = at if at.tzinfo else at.replace(tzinfo=UTC)
            if target.only_this_host and row.get("hostname", target.host) != target.host:
                target.outcomes["other_host"] += 1
                continue
            yield _parse_row(target, row, at.astimezone(UTC))
        except (KeyError, ValueError, AttributeError, TypeError):
            target.outcomes["unreadable"] += 1


def _parse_row(target: ImportTarget, row: dict[str, str], at: datetime) -> ImportedEvent:
    """Raises KeyError, ValueError, AttributeError, TypeError for a row that is not an event."""
    day = local_day(at, target.zone)
    domain = row.get("referrer_domain") or ""
    source = referrers.parse_traffic_source(
        row.get("url_query") or "",
        f"https://{domain}{row.get('referrer_path') or ''}" if domain else "",
        target.host,
    )
    is_custom = row.get("event_type") == CUSTOM_EVENT_TYPE
    country = (row.get("country") or "").upper()[:2]
    region = row.get("region") or ""
    browser = row.get("browser") or ""
    device = row.get("device") or ""
    visitor = visitors.hash_visitor(
        get_or_create_import_salt(target, day),
        target.site_number,
        address=row["session_id"],
        user_agent="umami",
        host="",
    )
    event = Event(
        target.site_number,
        Kind.CUSTOM if is_custom else Kind.PAGEVIEW,
        parse_page(row["url_path"]),
        id=int(row["event_id"].replace("-", ""), 16) >> 65,
        at=at,
        name=(row.get("event_name") or "")[:60] if is_custom else "",
        visitor=visitor,
        referrer=source.referrer,
        source=source.source,
        utm=source.utm,
        country=country,
        region=region if "-" in region or not region else f"{country}-{region}",
        browser=BROWSER_NAMES.get(browser, browser),
        os=row.get("os") or "",
        device=DEVICE_NAMES.get(device, device),
        language=(row.get("language") or "")[:2].lower(),
    )
    if not event.id or (is_custom and not event.name):
        raise ValueError
    return at, stable_id(row.get("visit_id") or row["session_id"], day), event
