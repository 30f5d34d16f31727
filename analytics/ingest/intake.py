"""Receives the events of browsers, below `/_/` on every published site.

Runs before Django, without DRF, and without a database query once the site's settings are cached.

The response is 202 even when an event is dropped, with `X-Drop: reason`. Visitors thereby learn nothing that
the owner does not see in the drop counters. Exceptions are 429, 413 and 503; the tracking script repeats a
request once after a 503.
"""

import random
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from rest_framework.exceptions import ParseError

from analytics.ingest import drop_counters, geoip, referrers, stream, user_agents, visitors
from analytics.ingest.events import EventDropped, ParsedEvent, parse_event
from analytics.ingest.settings_cache import CachedSettings, get_cached_settings
from analytics.ingest.stream import Event
from analytics.ingest.unwritten_events import LostEvents, UnwrittenEvents
from analytics.models import Kind, Settings
from core import encryption
from core.admission.rate_limits import LocalRateLimiter
from core.http.client_address import client_address_of_environ, client_network
from core.http.json_parser import parse_json
from core.observability import metrics
from core.storage import redis, redis_scripts
from sites.serving.host_routing import Route
from sites.serving.page_cache import SITE_SECURITY_HEADERS, Headers
from sites.serving.site_server import Environ

DEFAULT_PATH = "/_/event"
MAX_BODY_BYTES = 8 * 1024
MAX_EVENTS_PER_REQUEST = 20
# Requests of one client network in one process; the setting RATE_LIMIT, per minute, may allow more.
MIN_REQUESTS_PER_SECOND = 20
BURST_SECONDS = 10
# Requests of one process whose events are written to PostgreSQL directly while Redis is unavailable.
DIRECT_WRITES_PER_SECOND = 50
TRANSPARENT_GIF = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b"
)

Response = tuple[str, Headers, bytes]  # status line, headers, body

log = structlog.get_logger(__name__)
_network_limiter = LocalRateLimiter()
_direct_write_limiter = LocalRateLimiter()


def unlisted_path() -> str:
    """A path that differs between installations, so that no list of tracker paths contains it."""
    return f"/_/{encryption.sign('analytics path', 'intake')[:10]}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """What a request says about its sender. Kept in memory for this request only.

    `host` is the host of the site, `objects_to_tracking` is True for the headers Sec-GPC and DNT, and
    `is_prefetch` for pages that a browser loads in advance.
    """

    address: str
    user_agent: str
    host: str
    language: str = ""
    objects_to_tracking: bool = False
    is_prefetch: bool = False


def handle_request(environ: Environ, route: Route) -> Response:
    """Handle a WSGI request: events as JSON by POST, or the image for browsers without scripts by GET."""
    method = environ["REQUEST_METHOD"]
    address = client_address_of_environ(environ)
    rate = max(MIN_REQUESTS_PER_SECOND, settings.RATE_LIMIT // 60)
    network = client_network(address)
    if not _network_limiter.take(network, interval=1 / rate, burst=rate * BURST_SECONDS).allowed:
        return build_response("429 Too Many Requests", ("Retry-After", "10"))
    visitor = _parse_visitor(environ, address)
    if method == "GET":
        return _handle_image_request(environ, route, visitor)
    if method != "POST":
        return build_response("405 Method Not Allowed", ("Allow", "GET, POST"))
    body = environ["wsgi.input"].read(MAX_BODY_BYTES + 1)
    if len(body) > MAX_BODY_BYTES:
        return build_response("413 Content Too Large")
    try:
        content = parse_json(body)
    except ParseError:
        content = None  # dropped as an invalid event
    items = content if isinstance(content, list) else [content]
    excess_count = max(0, len(items) - MAX_EVENTS_PER_REQUEST)
    return _accept_events(route, visitor, items[:MAX_EVENTS_PER_REQUEST], excess_count=excess_count)


def _parse_visitor(environ: Environ, address: str) -> Visitor:
    return Visitor(
        address=address,
        user_agent=environ.get("HTTP_USER_AGENT", ""),
        host=environ.get("HTTP_HOST", "").partition(":")[0].lower(),
        language=environ.get("HTTP_ACCEPT_LANGUAGE", "")[:2].lower(),
        objects_to_tracking=environ.get("HTTP_SEC_GPC") == "1" or environ.get("HTTP_DNT") == "1",
        is_prefetch="prefetch" in environ.get("HTTP_SEC_PURPOSE", "")
        or "prefetch" in environ.get("HTTP_PURPOSE", ""),
    )


def _handle_image_request(environ: Environ, route: Route, visitor: Visitor) -> Response:
    """Count a view of the page that contains the image, and return the image."""
    page_view = {"n": "pageview", "u": environ.get("HTTP_REFERER", "")}
    status, headers, _ = _accept_events(route, visitor, [page_view])
    status = "200 OK" if status.startswith("202") else status
    other_headers = [header for header in headers if header[0] != "Content-Length"]
    image_headers = [("Content-Type", "image/gif"), ("Content-Length", str(len(TRANSPARENT_GIF)))]
    return status, [*other_headers, *image_headers], TRANSPARENT_GIF


def _accept_events(route: Route, visitor: Visitor, items: list[Any], *, excess_count: int = 0) -> Response:
    """Store the events of one request. `excess_count` are those beyond the limit, which are dropped."""
    drops: Counter[str] = Counter({"too_many": excess_count} if excess_count else {})
    assert route.site_id is not None
    try:
        site_settings = get_cached_settings(route.site_id)
        events = []
        for item in items:
            try:
                parsed = parse_event(item, host=visitor.host)
                events.append(build_event(route.number, site_settings, visitor, parsed))
            except EventDropped as drop:
                drops[drop.reason] += 1
        if events:
            drops.update(outcome for outcome in store_events(events) if outcome != "ok")
    except (redis.RedisUnavailable, DatabaseError) as error:
        metrics.dropped_events.labels("unavailable").inc(len(items))
        log.warning("event_refused", error=type(error).__name__)
        return build_response("503 Service Unavailable", ("Retry-After", "2"))
    finally:
        # Django does this at the end of its own requests; this function runs outside of them.
        close_old_connections()
    if drops["full"]:
        metrics.dropped_events.labels("full").inc(drops["full"])
        return build_response("503 Service Unavailable", ("Retry-After", "10"))
    drop_counters.count_drops(route.number, drops)
    reasons = ",".join(sorted(drops))
    return build_response("202 Accepted", *([("X-Drop", reasons)] if reasons else []))


def build_event(
    site_number: int,
    site_settings: CachedSettings,
    visitor: Visitor,
    parsed: ParsedEvent,
    *,
    at: datetime | None = None,
    has_visitor: bool = True,
) -> Event:
    """Combine a parsed event with what is known about its visitor. Raises EventDropped.

    `at` defaults to now. `has_visitor` is False when a server sends an event that belongs to no visitor;
    such an event has no visitor id and belongs to no visit.
    """
    _refuse_unwanted(site_settings, visitor)
    agent = user_agents.UserAgent()
    if has_visitor:
        agent = user_agents.parse_user_agent(visitor.user_agent[: user_agents.MAX_USER_AGENT_CHARACTERS])
    if agent.is_bot or parsed.is_automated:
        raise EventDropped("bot")
    country, region = geoip.find_location(visitor.address) if visitor.address else ("", "")
    source = referrers.parse_traffic_source(parsed.query, parsed.referrer, visitor.host)
    event = Event(
        site_number,
        parsed.kind,
        parsed.page,
        id=parsed.id or random.getrandbits(63),
        is_repeatable=bool(parsed.id),
        at=at,
        name=parsed.name,
        referrer=source.referrer,
        source=source.source,
        utm=source.utm,
        country=country,
        engaged=parsed.engaged,
        value=parsed.value,
        currency=parsed.currency,
        props=parsed.props,
    )
    counts_only = visitor.objects_to_tracking and site_settings.signals == Settings.Signals.COUNT
    if counts_only:
        _reduce_to_page_and_country(event)
    now = datetime.now(UTC)
    is_salt_expired = at is not None and not visitors.is_salt_available(at, site_settings.timezone, now=now)
    if not has_visitor or counts_only or is_salt_expired:
        if parsed.kind == Kind.ENGAGEMENT:
            raise EventDropped("signal")
        return event
    event.region = region
    _add_visitor(event, visitor, agent, zone=site_settings.timezone, now=at or now)
    return event


def _add_visitor(
    event: Event, visitor: Visitor, agent: user_agents.UserAgent, *, zone: str, now: datetime
) -> None:
    """Set the visitor id, and what is known about the browser."""
    event.browser = agent.browser
    event.os = agent.os
    event.device = agent.device
    event.language = visitor.language if visitor.language.isascii() and visitor.language.isalpha() else ""
    event.visitor = visitors.compute_visitor_id(
        event.site_number,
        zone,
        address=visitor.address,
        user_agent=visitor.user_agent,
        host=visitor.host,
        now=now,
    )


def _refuse_unwanted(site_settings: CachedSettings, visitor: Visitor) -> None:
    """Raise EventDropped when the settings of the site or the signals of the visitor forbid counting."""
    if not site_settings.enabled:
        raise EventDropped("disabled")
    if visitor.is_prefetch:
        raise EventDropped("prefetch")
    if visitor.objects_to_tracking and site_settings.signals == Settings.Signals.DROP:
        raise EventDropped("signal")


def _reduce_to_page_and_country(event: Event) -> None:
    """Clear all fields but page, name and country, for a visitor who objects to tracking."""
    event.referrer = ""
    event.source = ""
    event.utm = ("",) * 5
    event.value = None
    event.currency = None
    event.props = None


def store_events(events: list[Event]) -> list[str]:
    """Append events to their streams; return for each `ok` or the reason why it was dropped.

    Accepted events stay in the memory of this process until they are written. While Redis is unavailable, up
    to `DIRECT_WRITES_PER_SECOND` calls write to PostgreSQL instead. Raises RedisUnavailable above this rate,
    and DatabaseError.
    """
    sent_after = unwritten_events.known_state()
    try:
        results = stream.append_events(events)
    except redis.RedisUnavailable:
        rate = DIRECT_WRITES_PER_SECOND
        if not _direct_write_limiter.take("all", interval=1 / rate, burst=rate).allowed:
            raise
        from analytics.ingest import direct_writes  # imported late because only this exception needs it

        direct_writes.write_events(events)
        return ["ok"] * len(events)
    for event, result in zip(events, results, strict=True):
        if result.outcome == "ok":
            unwritten_events.record_accepted(event.shard, event, result, sent_after=sent_after)
    return [result.outcome for result in results]


def _write_lost_events(lost: LostEvents) -> None:
    """Write events that the streams have lost. Raises DatabaseError."""
    from analytics.ingest import direct_writes  # imported late because only a loss needs it

    direct_writes.write_events(lost.events)
    drop_counters.add_lost_events(lost.counts, now=datetime.now(UTC))


# The events that this process has accepted and no writer has stored yet.
unwritten_events = UnwrittenEvents(
    stream.SHARDS,
    recover=_write_lost_events,
    read_states=stream.read_states,
    reconnections=redis_scripts.reconnections,
)


def build_response(status: str, *extra_headers: tuple[str, str]) -> Response:
    """A response without a body that must not be cached."""
    headers = [("Content-Length", "0"), ("Cache-Control", "no-store"), *SITE_SECURITY_HEADERS, *extra_headers]
    return status, headers, b""
