"""What a browser or a server may say: the shape of one event, checked by hand because there are thousands a
second.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from analytics.models import Kind

MAX_PAGE = 500
MAX_NAME = 60
MAX_PROPS = 30
MAX_PROP = 300
MAX_PROPS_BYTES = 2048
MAX_VALUE = 10**9
MAX_ENGAGED = 6 * 3600 * 1000  # milliseconds
NAMELESS = {Kind.PAGEVIEW, Kind.ENGAGEMENT}
KINDS = {
    "pageview": Kind.PAGEVIEW,
    "engagement": Kind.ENGAGEMENT,
    "outbound": Kind.OUTBOUND,
    "download": Kind.DOWNLOAD,
}
CURRENCY = re.compile(r"^[A-Z]{3}\Z")  # ISO 4217
FIELDS = {"n", "u", "r", "i", "p", "v", "d", "w"}


class Dropped(Exception):
    """This is not counted. `reason` is for the owner's counters."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Given:
    """An event as it was said: where, what, from where; `engaged` in milliseconds, `value` as decimal text."""

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
    automated: bool = False


def read_event(item: Any, *, host: str) -> Given:
    """`{n: name, u: address, r: referrer, i: id (16 hex), p: properties, v: {amount, currency}, d: ms looked
    at, w: driven}`. Raises Dropped.
    """
    if (
        not isinstance(item, dict)
        or not isinstance(name := item.get("n"), str)
        or not 1 <= len(name) <= MAX_NAME
    ):
        raise Dropped("invalid")
    if item.keys() - FIELDS or not name.isprintable() or name != name.strip():
        raise Dropped("invalid")
    page, query = _address(item.get("u"), host)
    kind = KINDS.get(name, Kind.CUSTOM)
    value, currency = _money(item.get("v"))
    return Given(
        kind,
        page,
        query,
        referrer=_text(item.get("r")),
        name="" if kind in NAMELESS else name,
        id=_id(item.get("i")),
        props=_props(item.get("p")),
        value=value,
        currency=currency,
        engaged=_engaged(item.get("d"), kind),
        automated=bool(item.get("w")),
    )


def _address(found: Any, host: str) -> tuple[str, str]:
    """Path and query of an address on this host. The path has no slash at its end."""
    try:
        parts = urlsplit(found if isinstance(found, str) and len(found) <= 4000 else "")
        there = (parts.hostname or "").lower()
    except ValueError:
        raise Dropped("invalid") from None
    if parts.scheme not in {"http", "https"} or not there:
        raise Dropped("invalid")
    if there != host:
        raise Dropped("other_host")
    path = parts.path.rstrip("/") or "/"
    if not path.isprintable():
        raise Dropped("invalid")
    return path[:MAX_PAGE], parts.query


def _text(found: Any) -> str:
    if found is None:
        return ""
    if not isinstance(found, str) or len(found) > 4000:
        raise Dropped("invalid")
    return found


def _id(found: Any) -> int:
    """63 bits of what the browser drew, so that a repeated request counts once."""
    if found is None:
        return 0
    try:
        return int(found, 16) >> 1 if isinstance(found, str) and len(found) == 16 else _refuse()
    except ValueError:
        return _refuse()


def _refuse() -> int:
    raise Dropped("invalid")


def _props(found: Any) -> dict[str, Any] | None:
    if not found:
        return None
    if not isinstance(found, dict) or len(found) > MAX_PROPS:
        raise Dropped("invalid")
    for name, value in found.items():
        if (
            not 1 <= len(name) <= MAX_PROP
            or not isinstance(value, str | int | float | bool)
            or len(str(value)) > MAX_PROP
        ):
            raise Dropped("invalid")
    if len(json.dumps(found)) > MAX_PROPS_BYTES:
        raise Dropped("invalid")
    return found


def _money(found: Any) -> tuple[str | None, str | None]:
    if found is None:
        return None, None
    if not isinstance(found, dict) or found.keys() != {"amount", "currency"}:
        raise Dropped("invalid")
    amount = found["amount"]
    currency = found["currency"]
    if (
        isinstance(amount, bool)
        or not isinstance(amount, int | float)
        or not math.isfinite(amount)
        or not 0 <= amount < MAX_VALUE
    ):
        raise Dropped("invalid")
    if not isinstance(currency, str) or not CURRENCY.match(currency):
        raise Dropped("invalid")
    return f"{amount:.3f}", currency


def _engaged(found: Any, kind: Kind) -> int | None:
    if kind != Kind.ENGAGEMENT:
        return None
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MAX_ENGAGED:
        raise Dropped("invalid")
    return found
