"""Rate limits by GCRA (ITU-T I.371): a bucket of `burst` requests refilled at a steady rate.

Redis keeps the time.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

from core.errors import DomainError


@dataclass(frozen=True, slots=True)
class RateLimitResult:
    """The answer of a limit.

    `wait` is seconds until the next request passes (refused) or the bucket is full.
    """

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
    code = "too_many_requests"
    status = 429
    message = "Too many requests. Wait a moment, then try again."

    def __init__(self, allowance: RateLimitResult) -> None:
        super().__init__()
        self.allowance = allowance

    @property
    def headers(self) -> dict[str, str]:
        return {**self.allowance.headers, "Retry-After": str(max(1, ceil(self.allowance.wait)))}


class LocalRateLimiter:
    """The same limit in this process's memory, for when Redis is away.

    Bounded: the longest unused is forgotten.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._full: OrderedDict[str, float] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    def take(self, key: str, *, interval: float, burst: int, now: float | None = None) -> RateLimitResult:
        """Take one request from `key`; `interval` is seconds a request, `now` seconds on a steady clock."""
        now = time.monotonic() if now is None else now
        with self._lock:
            full = max(self._full.get(key, now), now)
            earliest = full + interval - interval * burst
            if earliest > now:
                return RateLimitResult(False, 0, earliest - now, burst)
            full += interval
            self._full[key] = full
            self._full.move_to_end(key)
            if len(self._full) > self._size:
                self._full.popitem(last=False)
        return RateLimitResult(True, int((now - (full - interval * burst)) / interval), full - now, burst)
