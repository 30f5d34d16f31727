"""Rate limits by the generic cell rate algorithm (GCRA, ITU-T I.371).

A bucket holds `burst` requests and is refilled at a constant rate. Redis applies the limit (`admission.lua`);
`LocalRateLimiter` replaces it while Redis is unavailable.
"""

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from math import ceil

from core.errors import DomainError


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
    """The same limit in the memory of this process, for at most `size` keys.

    The least recently used key is dropped.
    """

    def __init__(self, size: int = 20_000) -> None:
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._size = size
        self._lock = threading.Lock()

    def take(self, key: str, *, interval: float, burst: int, now: float | None = None) -> RateLimitResult:
        """Count a request of `key`.

        `interval` is the number of seconds in which the bucket gets one request back. `now` is in seconds of
        a monotonic clock.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            full_at = max(self._full_at.get(key, now), now)
            earliest = full_at + interval - interval * burst
            if earliest > now:
                return RateLimitResult(False, 0, earliest - now, burst)
            full_at += interval
            self._full_at[key] = full_at
            self._full_at.move_to_end(key)
            if len(self._full_at) > self._size:
                self._full_at.popitem(last=False)
        remaining = int((now - (full_at - interval * burst)) / interval)
        return RateLimitResult(True, remaining, full_at - now, burst)
