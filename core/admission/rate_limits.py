"""Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371).

The limit of the API is the setting `RATE_LIMIT` (`config/env.py`, default 100 requests a minute for each user
or client network), which `core.admission.middleware` applies. The API keys of a user share the user's limit;
a key may have a lower limit of its own. `core.admission.costs` charges expensive work to the same bucket.

A bucket holds `burst` requests and is refilled at a constant rate. Redis applies the limit (`admission.lua`);
`LocalRateLimiter` replaces it while Redis is unavailable.
"""

import time
from dataclasses import dataclass
from math import ceil

from core.errors import DomainError
from core.storage.memory_cache import MemoryCache

MINUTE_MICROSECONDS = 60_000_000


@dataclass(frozen=True, slots=True)
class RateLimitResult:
    """The result of counting a request.

    `remaining` is the number of requests that are admitted now. `wait` is the number of seconds until the
    next request is admitted, or for an admitted request until the bucket is full.
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

    def __init__(self, result: RateLimitResult) -> None:
        super().__init__()
        self.result = result

    @property
    def headers(self) -> dict[str, str]:
        return {**self.result.headers, "Retry-After": str(max(1, ceil(self.result.wait)))}


class LocalRateLimiter:
    """The same limit in this process's memory, for when Redis is unavailable.

    Keeps the `size` most recent keys.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._full_at: MemoryCache[str, float] = MemoryCache(size)

    def take(self, key: str, *, interval: float, burst: int, now: float | None = None) -> RateLimitResult:
        """Count one request of `key`.

        `interval` is the seconds between requests, `now` a monotonic time in seconds.
        """
        now = time.monotonic() if now is None else now
        with self._full_at.lock:
            full_at = max(self._full_at.get(key) or now, now)
            earliest = full_at + interval - interval * burst
            if earliest > now:
                return RateLimitResult(False, 0, earliest - now, burst)
            full_at += interval
            self._full_at.set(key, full_at)
        return RateLimitResult(
            True, int((now - (full_at - interval * burst)) / interval), full_at - now, burst
        )
