"""Rate limits by GCRA (ITU-T I.371): a bucket of `burst` requests refilled at a steady rate. Redis keeps the time."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from core.errors import DomainError


@dataclass(frozen=True, slots=True)
class Allowance:
    """The answer of a limit. `wait` is seconds until the next request passes (refused) or the bucket is full."""

    allowed: bool
    remaining: int
    wait: float
    limit: int

    @property
    def headers(self) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(ceil(self.wait)),
        }


class TooManyRequests(DomainError):
    code, status, message = "too_many_requests", 429, "Too many requests. Wait a moment, then try again."

    def __init__(self, allowance: Allowance) -> None:
        super().__init__()
        self.allowance = allowance

    @property
    def headers(self) -> dict[str, str]:
        return {**self.allowance.headers, "Retry-After": str(max(1, ceil(self.allowance.wait)))}


class LocalBuckets:
    """The same limit in this process's memory, for when Redis is away. Bounded: the longest unused is forgotten."""

    def __init__(self, size: int = 20_000) -> None:
        self._full: OrderedDict[str, float] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    def take(self, key: str, *, interval: float, burst: int, now: float | None = None) -> Allowance:
        """Take one request from `key`; `interval` is seconds a request, `now` seconds on a steady clock."""
        now = time.monotonic() if now is None else now
        with self._lock:
            full = max(self._full.get(key, now), now)
            earliest = full + interval - interval * burst
            if earliest > now:
                return Allowance(False, 0, earliest - now, burst)
            full += interval
            self._full[key] = full
            self._full.move_to_end(key)
            if len(self._full) > self._size:
                self._full.popitem(last=False)
        return Allowance(True, int((now - (full - interval * burst)) / interval), full - now, burst)


def client_address(request: HttpRequest) -> str:
    """As `peer_of` says."""
    return peer_of(request.META)


def peer_of(environ: Mapping[str, Any]) -> str:
    """The client's address: the right-most hop of X-Forwarded-For that no proxy of ours wrote, else the peer's.

    With TRUSTED_PROXY_COUNT 0 the header is ignored. Never raises: what is not an address becomes the peer's.
    """
    peer = str(environ.get("REMOTE_ADDR", ""))
    trusted: int = settings.TRUSTED_PROXY_COUNT
    if not trusted:
        return peer
    hops = [hop.strip() for hop in str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",") if hop.strip()]
    candidate = hops[-trusted] if len(hops) >= trusted else peer
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer


def client_network(address: str) -> str:
    """What is limited together: an IPv4 address, or the /64 of an IPv6 one (a subscriber has at least that)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address) + "/64"
    return str(parsed)


def network_prefix(address: str) -> str:
    """What is written down of an address: IPv4 /24, IPv6 /48; empty when it is none."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
