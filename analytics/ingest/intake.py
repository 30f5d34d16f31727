"""Where browsers say what they saw: below /_/ on each published site, before Django, without DRF and without
SQL on the way.

The answer is 202 whatever came, with `X-Drop: reason` when it was not counted, so that nobody learns more
than the owner does, who sees the reasons added up. 413, 429 and 503 are the exceptions: the script tries once
more after the last.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from rest_framework.exceptions import ParseError

from analytics.ingest import geoip, referrers, stream, user_agents, visitors
from analytics.ingest.events import Dropped, Given, read_event
from analytics.ingest.settings_cache import CachedSettings, settings_of
from analytics.ingest.stream import Event
from analytics.models import Kind, Settings
from core import encryption
from core.admission.rate_limits import LocalRateLimiter
from core.http.client_address import client_address_of_environ, client_network
from core.http.json_parser import parse_json
from core.storage import redis
from sites.serving.host_routing import Route
from sites.serving.page_cache import SAFE, Headers
from sites.serving.site_server import Environ

ALIAS = "/_/event"
MAX_BODY = 8 * 1024
MAX_EVENTS = 20
LEAST_RATE = 20  # requests a second of one network in one process; RATE_LIMIT may say more
BURST_SECONDS = 10
DIRECT_RATE = 50  # requests a second of one process whose events PostgreSQL takes while Redis is away
DROPS = "drops"  # Redis: one hash an hour, `site:reason` to how many
GIF = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c000000000100010000020144003b")

log = structlog.get_logger(__name__)
_buckets = LocalRateLimiter()
_direct = LocalRateLimiter()


def private_path() -> str:
    """This installation's own path, which no list of trackers knows."""
    return f"/_/{encryption.sign('analytics path', 'intake')[:10]}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks, for as long as the request lasts."""

    address: str
    agent: str
    host: str
    language: str = ""
    signal: bool = False
    prefetch: bool = False


def serve(environ: Environ, route: Route) -> tuple[str, Headers, bytes]:
    """Take what a browser sends: JSON by POST, or the picture that a browser without scripts asks for."""
    method = environ["REQUEST_METHOD"]
    address = client_address_of_environ(environ)
    rate = max(LEAST_RATE, settings.RATE_LIMIT // 60)
    if not _buckets.take(client_network(address), interval=1 / rate, burst=rate * BURST_SECONDS).allowed:
        return answer("429 Too Many Requests", ("Retry-After", "10"))
    visitor = Visitor(
        address=address,
        agent=environ.get("HTTP_USER_AGENT", ""),
        host=environ.get("HTTP_HOST", "").partition(":")[0].lower(),
        language=environ.get("HTTP_ACCEPT_LANGUAGE", "")[:2].lower(),
        signal=environ.get("HTTP_SEC_GPC") == "1" or environ.get("HTTP_DNT") == "1",
        prefetch="prefetch" in environ.get("HTTP_SEC_PURPOSE", "")
        or "prefetch" in environ.get("HTTP_PURPOSE", ""),
    )
    if method == "GET":
        return _picture(environ, route, visitor)
    if method != "POST":
        return answer("405 Method Not Allowed", ("Allow", "GET, POST"))
    body = environ["wsgi.input"].read(MAX_BODY + 1)
    if len(body) > MAX_BODY:
        return answer("413 Content Too Large")
    try:
        told = parse_json(body)
    except ParseError:
        told = None
    batch = told if isinstance(told, list) else [told]
    return _take(route, visitor, batch[:MAX_EVENTS], beyond=len(batch) - MAX_EVENTS)


def _picture(environ: Environ, route: Route, visitor: Visitor) -> tuple[str, Headers, bytes]:
    """A page view of the page that shows the picture."""
    status, headers, _ = _take(route, visitor, [{"n": "pageview", "u": environ.get("HTTP_REFERER", "")}])
    status = "200 OK" if status.startswith("202") else status
    kept = [header for header in headers if header[0] != "Content-Length"]
    return status, [*kept, ("Content-Type", "image/gif"), ("Content-Length", str(len(GIF)))], GIF


def _take(route: Route, visitor: Visitor, batch: list[Any], *, beyond: int = 0) -> tuple[str, Headers, bytes]:
    drops: Counter[str] = Counter({"too_many": beyond} if beyond > 0 else {})
    assert route.site_id is not None
    try:
        profile = settings_of(route.site_id)
        events = []
        for item in batch:
            try:
                events.append(make_event(route.number, profile, visitor, read_event(item, host=visitor.host)))
            except Dropped as drop:
                drops[drop.reason] += 1
        if events:
            drops.update(state for state in keep(events) if state != "ok")
    except (redis.RedisUnavailable, DatabaseError) as error:
        log.warning("event_refused", error=type(error).__name__)
        return answer("503 Service Unavailable", ("Retry-After", "2"))
    finally:
        close_old_connections()  # nobody does it for us here, before Django
    if drops["full"]:
        return answer("503 Service Unavailable", ("Retry-After", "10"))
    count_drops(route.number, drops)
    reasons = ",".join(sorted(drops))
    return answer("202 Accepted", *([("X-Drop", reasons)] if reasons else []))


def make_event(
    number: int,
    profile: CachedSettings,
    visitor: Visitor,
    given: Given,
    *,
    at: datetime | None = None,
    person: bool = True,
) -> Event:
    """The event that a visitor's word becomes.

    `person` is False where a server speaks for nobody. Raises Dropped.
    """
    _refuse_unwanted(profile, visitor)
    agent = (
        user_agents.parse_user_agent(visitor.agent[: user_agents.MAX_AGENT])
        if person
        else user_agents.UserAgent()
    )
    if agent.bot or given.automated:
        raise Dropped("bot")
    country, region = geoip.find(visitor.address) if visitor.address else ("", "")
    origin = referrers.read(given.query, given.referrer, visitor.host)
    event = Event(
        number,
        given.kind,
        given.page,
        id=given.id,
        at=at,
        name=given.name,
        referrer=origin.referrer,
        source=origin.source,
        utm=origin.utm,
        country=country,
        engaged=given.engaged,
        value=given.value,
        currency=given.currency,
        props=given.props,
    )
    counted_only = visitor.signal and profile.signals == Settings.Signals.COUNT
    if counted_only:
        _reduce_to_page_and_country(event)
    salt_expired = at is not None and not visitors.salt_lives(at, profile.timezone, now=datetime.now(UTC))
    if not person or counted_only or salt_expired:
        if given.kind == Kind.ENGAGEMENT:
            raise Dropped("signal")
        return event
    event.region = region
    event.browser = agent.browser
    event.os = agent.os
    event.device = agent.device
    event.language = visitor.language if visitor.language.isascii() and visitor.language.isalpha() else ""
    event.visitor = visitors.visitor_id(
        number,
        profile.timezone,
        address=visitor.address,
        agent=visitor.agent,
        host=visitor.host,
        now=at or datetime.now(UTC),
    )
    return event


def _refuse_unwanted(profile: CachedSettings, visitor: Visitor) -> None:
    """Raise Dropped when the site's settings or the visitor's signals say that nothing is counted."""
    if not profile.enabled:
        raise Dropped("disabled")
    if visitor.prefetch:
        raise Dropped("prefetch")
    if visitor.signal and profile.signals == Settings.Signals.DROP:
        raise Dropped("signal")


def _reduce_to_page_and_country(event: Event) -> None:
    """Remove what an event says beyond its page or name and the country, for a visitor who objects to tracking."""
    event.referrer = ""
    event.source = ""
    event.utm = ("",) * 5
    event.value = None
    event.currency = None
    event.props = None


def keep(events: list[Event]) -> list[str]:
    """What became of each event.

    While Redis is away a few go straight into PostgreSQL. Raises RedisAway beyond those, DatabaseError.
    """
    try:
        return stream.append(events)
    except redis.RedisUnavailable:
        if not _direct.take("all", interval=1 / DIRECT_RATE, burst=DIRECT_RATE).allowed:
            raise
        from analytics.ingest import writer  # it needs PostgreSQL alone, and is needed when Redis is gone

        writer.write_now(events)
        return ["ok"] * len(events)


def count_drops(number: int, drops: Counter[str]) -> None:
    """Add to the hour's counters. They may be lost with Redis; nothing else is."""
    if not drops:
        return
    name = f"{DROPS}:{datetime.now(UTC):%Y%m%d%H}"

    def add(client: Any) -> None:
        with client.pipeline(transaction=False) as pipe:
            for reason, count in drops.items():
                pipe.hincrby(name, f"{number}:{reason}", count)
            pipe.expire(name, 48 * 3600)
            pipe.execute()

    try:
        redis.call(add)
    except redis.RedisUnavailable:
        log.warning("drops_not_counted", site=number)


def answer(status: str, *extra: tuple[str, str]) -> tuple[str, Headers, bytes]:
    return status, [("Content-Length", "0"), ("Cache-Control", "no-store"), *SAFE, *extra], b""
