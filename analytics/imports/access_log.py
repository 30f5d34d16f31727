"""Parses page views from access logs of Apache and nginx."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from analytics.imports.events import (
    ImportedEvent,
    ImportTarget,
    get_or_create_import_salt,
    parse_page,
    stable_id,
)
from analytics.ingest import geoip, referrers, user_agents, visitors
from analytics.ingest.stream import Event
from analytics.models import Kind
from analytics.time_zones import local_day

MAX_LINE_CHARACTERS = 16_384
MAX_REMEMBERED_LINES = 500_000  # and as many visitors
VISIT_TIMEOUT = timedelta(minutes=30)
# The NCSA combined log format, with or without the virtual host before it.
LOG_LINE = re.compile(
    r"^(?:(?P<host>\S+) )?"
    r"(?P<address>[0-9A-Fa-f.:]+) \S+ \S+ "
    r"\[(?P<at>[^\]]+)\] "
    r'"(?P<method>[A-Z]+) (?P<target>\S+)[^"]*" '
    r"(?P<status>\d{3}) (?P<size>\S+) "
    r'"(?P<referrer>(?:[^"\\]|\\.)*)" '
    r'"(?P<agent>(?:[^"\\]|\\.)*)"'
)
# Images, style sheets, fonts and other files that are no page.
FILE_EXTENSION = re.compile(r"\.(?!html?$)[a-z0-9]{1,5}$", re.IGNORECASE)


def parse_access_log(target: ImportTarget, lines: Iterable[str]) -> Iterator[ImportedEvent]:
    """The page views of an access log: successful requests of browsers for pages.

    A visit ends after 30 minutes without a page view. Other lines are counted by reason.
    """
    for line in lines:
        match = LOG_LINE.match(line[:MAX_LINE_CHARACTERS])
        try:
            event = _parse_page_view(target, match) if match else "unreadable"
        except ValueError:
            event = "unreadable"
        if match is None or isinstance(event, str):
            target.outcomes[str(event)] += 1
            continue
        identity = (target.server_name, *match.group("at", "target", "status", "size", "referrer"))
        target.line_counts[identity] += 1
        event.id = stable_id(target.site_number, *identity, target.line_counts[identity])
        yield _assign_visit(target, event)
        for memory in (target.line_counts, target.last_views):
            if len(memory) > MAX_REMEMBERED_LINES:
                memory.clear()  # a second run clears it at the same line, so it computes the same ids


def _assign_visit(target: ImportTarget, event: Event) -> ImportedEvent:
    assert event.at is not None
    assert event.visitor is not None
    last_view_at, visit = target.last_views.get(event.visitor, (None, 0))
    if last_view_at is None or event.at - last_view_at > VISIT_TIMEOUT:
        visit = stable_id(event.visitor, event.at)
    target.last_views[event.visitor] = (event.at, visit)
    return event.at, visit, event


def _parse_page_view(target: ImportTarget, match: re.Match[str]) -> Event | str:
    """The page view of a line, or the reason why it is not one. Raises ValueError."""
    at = datetime.strptime(match["at"], "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC)
    parts = urlsplit(match["target"])
    page = parse_page(parts.path)
    agent = user_agents.parse_user_agent(match["agent"][: user_agents.MAX_USER_AGENT_CHARACTERS])
    if not _is_page_request(match, page):
        return "no_page"
    if agent.is_bot:
        return "bot"
    if target.only_this_host and match["host"] and match["host"].partition(":")[0] != target.host:
        return "other_host"
    visitor = visitors.hash_visitor(
        get_or_create_import_salt(target, local_day(at, target.zone)),
        target.site_number,
        address=match["address"],
        user_agent=match["agent"],
        host=target.host,
    )
    country, region = geoip.find_location(match["address"])
    referrer = match["referrer"] if match["referrer"] != "-" else ""
    source = referrers.parse_traffic_source(parts.query, referrer, target.host)
    return Event(
        target.site_number,
        Kind.PAGEVIEW,
        page,
        at=at,
        visitor=visitor,
        referrer=source.referrer,
        source=source.source,
        utm=source.utm,
        country=country,
        region=region,
        browser=agent.browser,
        os=agent.os,
        device=agent.device,
    )


def _is_page_request(match: re.Match[str], page: str) -> bool:
    return (
        match["method"] == "GET"
        and match["status"] in {"200", "304"}
        and not FILE_EXTENSION.search(page)
        and not page.startswith("/_/")
    )
