"""Validates one event as a browser or a server sends it.

Written by hand instead of with a serializer, because there may be thousands of events a second.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from analytics.models import Kind

MAX_URL_CHARACTERS = 4000
MAX_PAGE_CHARACTERS = 500
MAX_NAME_CHARACTERS = 60
MAX_PROPERTIES = 30
MAX_PROPERTY_CHARACTERS = 300
MAX_PROPERTIES_BYTES = 2048
MAX_REVENUE = 10**9
MAX_ENGAGED_MILLISECONDS = 6 * 3600 * 1000
ID_CHARACTERS = 16
KINDS_WITHOUT_NAME = {Kind.PAGEVIEW, Kind.ENGAGEMENT}
KIND_BY_NAME = {
    "pageview": Kind.PAGEVIEW,
    "engagement": Kind.ENGAGEMENT,
    "outbound": Kind.OUTBOUND,
    "download": Kind.DOWNLOAD,
}
CURRENCY_CODE = re.compile(r"^[A-Z]{3}\Z")  # ISO 4217
FIELDS = {"n", "u", "r", "i", "p", "v", "d", "w"}


class EventDropped(Exception):
    """The event is not counted. `reason` is the name of a counter that the site's owner sees."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ParsedEvent:
    """A validated event.

    `page` and `query` are the path and the query string of its URL, `engaged` is the viewing time in
    milliseconds, `value` the revenue as decimal text, and `is_automated` is True when the browser says that a
    program controls it.
    """

    kind: Kind
    page: str
    query: str = ""
    referrer: str = ""
    name: str = ""
    id: int = 0
    props: dict[str, Any] | None = None
    value: str | None = None
    currency: str | None = None
    engaged: int | None = None
    is_automated: bool = False


def parse_event(item: Any, *, host: str) -> ParsedEvent:
    """Validate an event as `script.js` sends it. Raises EventDropped.

    Its keys are n: name, u: URL, r: referrer, i: id (16 hex digits), p: properties, v: revenue
    `{amount, currency}`, d: viewing time in milliseconds, w: `navigator.webdriver`. `host` is the host of
    the site, which the URL must have.
    """
    name = _parse_name(item)
    page, query = _parse_url(item.get("u"), host)
    kind = KIND_BY_NAME.get(name, Kind.CUSTOM)
    value, currency = _parse_revenue(item.get("v"))
    return ParsedEvent(
        kind,
        page,
        query,
        referrer=_parse_referrer(item.get("r")),
        name="" if kind in KINDS_WITHOUT_NAME else name,
        id=_parse_id(item.get("i")),
        props=_parse_properties(item.get("p")),
        value=value,
        currency=currency,
        engaged=_parse_engaged(item.get("d"), kind),
        is_automated=bool(item.get("w")),
    )


def _parse_name(item: Any) -> str:
    """The name of an event, after its shape and its keys were checked."""
    if not isinstance(item, dict) or item.keys() - FIELDS:
        raise EventDropped("invalid")
    name = item.get("n")
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise EventDropped("invalid")
    if not name.isprintable() or name != name.strip():
        raise EventDropped("invalid")
    return name


def _parse_url(url: Any, host: str) -> tuple[str, str]:
    """The path, without a slash at its end, and the query string of a URL on this host."""
    try:
        parts = urlsplit(url if isinstance(url, str) and len(url) <= MAX_URL_CHARACTERS else "")
        url_host = (parts.hostname or "").lower()
    except ValueError:
        raise EventDropped("invalid") from None
    if parts.scheme not in {"http", "https"} or not url_host:
        raise EventDropped("invalid")
    if url_host != host:
        raise EventDropped("other_host")
    path = parts.path.rstrip("/") or "/"
    if not path.isprintable():
        raise EventDropped("invalid")
    return path[:MAX_PAGE_CHARACTERS], parts.query


def _parse_referrer(referrer: Any) -> str:
    if referrer is None:
        return ""
    if not isinstance(referrer, str) or len(referrer) > MAX_URL_CHARACTERS:
        raise EventDropped("invalid")
    return referrer


def _parse_id(event_id: Any) -> int:
    """63 bits of the random id of the event, so that a repeated request counts once; 0 without an id."""
    if event_id is None:
        return 0
    if not isinstance(event_id, str) or len(event_id) != ID_CHARACTERS:
        raise EventDropped("invalid")
    try:
        return int(event_id, 16) >> 1
    except ValueError:
        raise EventDropped("invalid") from None


def _parse_properties(properties: Any) -> dict[str, Any] | None:
    if not properties:
        return None
    if not isinstance(properties, dict) or len(properties) > MAX_PROPERTIES:
        raise EventDropped("invalid")
    for name, value in properties.items():
        if (
            not 1 <= len(name) <= MAX_PROPERTY_CHARACTERS
            or not isinstance(value, str | int | float | bool)
            or len(str(value)) > MAX_PROPERTY_CHARACTERS
        ):
            raise EventDropped("invalid")
    if len(json.dumps(properties)) > MAX_PROPERTIES_BYTES:
        raise EventDropped("invalid")
    return properties


def _parse_revenue(revenue: Any) -> tuple[str | None, str | None]:
    """The amount as decimal text, and the currency; both None without revenue."""
    if revenue is None:
        return None, None
    if not isinstance(revenue, dict) or revenue.keys() != {"amount", "currency"}:
        raise EventDropped("invalid")
    amount = revenue["amount"]
    currency = revenue["currency"]
    if (
        isinstance(amount, bool)
        or not isinstance(amount, int | float)
        or not math.isfinite(amount)
        or not 0 <= amount < MAX_REVENUE
    ):
        raise EventDropped("invalid")
    if not isinstance(currency, str) or not CURRENCY_CODE.match(currency):
        raise EventDropped("invalid")
    return f"{amount:.3f}", currency


def _parse_engaged(milliseconds: Any, kind: Kind) -> int | None:
    """The viewing time of an engagement; None for the other kinds."""
    if kind != Kind.ENGAGEMENT:
        return None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int):
        raise EventDropped("invalid")
    if not 0 < milliseconds <= MAX_ENGAGED_MILLISECONDS:
        raise EventDropped("invalid")
    return milliseconds
