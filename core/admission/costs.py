"""Limits on what requests cost, beside their number: how many run at once, and how long they work.

Rate limits count requests, but a comparison of two large drafts works a thousand times longer than a look at
a list. Four limits keep one customer from slowing down the others in a web process with `WEB_THREADS`
threads:

- Expensive work (`expensive_work`) runs in a quarter of the threads, and as many may wait for it for
  `WAIT_SECONDS`. The other threads stay free for cheap requests.
- A user or client network has one such request running and one waiting in a process.
- The seconds of expensive work are charged to the rate limit of the caller, `SECONDS_PER_REQUEST` for each
  request.
- A user or client network whose requests are slow, for whatever reason, leaves one thread to others.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings
from django.http import HttpRequest

from core.admission.principals import Principal
from core.admission.rate_limits import MINUTE_MICROSECONDS
from core.errors import DomainError, Unavailable
from core.http.client_address import client_address, client_network
from core.storage import redis
from core.storage.postgresql.base import statement_time_limit

WAIT_SECONDS = 2.0
MAX_PLACES_PER_CALLER = 2
LARGE_BYTES = 128 * 1024  # documents from this size make a request expensive
SECONDS_PER_REQUEST = 0.1
STATEMENT_SECONDS = 15.0
SLOW_SECONDS = 1.0  # a request that has been running longer counts as slow
CHARGE_SCRIPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + tonumber(ARGV[1])
full_at = math.min(full_at, now + tonumber(ARGV[2]))
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000) + 1)
"""


class TooManyAtOnce(DomainError):
    code = "too_many_at_once"
    status = 429
    message = "You have a slow request in progress. Wait for its answer, then try again."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "1"}


class ExpensiveWorkBusy(Unavailable):
    code = "busy"
    message = "Too much is being computed at the moment. Try again in a few seconds."


class ExpensiveSlots:
    """The places for expensive work in this process: `running` at once, and `waiting` for one of them."""

    def __init__(self, *, running: int, waiting: int) -> None:
        self._running = threading.BoundedSemaphore(running)
        self._places = threading.BoundedSemaphore(running + waiting)
        self._callers: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, caller: str) -> Iterator[None]:
        """Hold a place.

        Raises TooManyAtOnce when the caller has MAX_PLACES_PER_CALLER, ExpensiveWorkBusy when none is free.
        """
        with self._lock:
            if self._callers[caller] >= MAX_PLACES_PER_CALLER:
                raise TooManyAtOnce
            if not self._places.acquire(blocking=False):
                raise ExpensiveWorkBusy
            self._callers[caller] += 1
        try:
            if not self._running.acquire(timeout=WAIT_SECONDS):
                raise ExpensiveWorkBusy
            try:
                yield
            finally:
                self._running.release()
        finally:
            with self._lock:
                self._callers[caller] -= 1
                self._callers += Counter()  # forgets callers without a place
                self._places.release()


@cache
def _slots() -> ExpensiveSlots:
    share = max(1, settings.ENV.web_threads // 4)
    return ExpensiveSlots(running=share, waiting=share)


def rate_limit_key(principal: Principal | None, network: str = "") -> str:
    """Return the key of the rate limit that a request counts for.

    All sessions and API keys of a user share one, and so do anonymous clients of a network.
    """
    return f"user:{principal.user_text}" if principal else f"net:{network}"


@contextmanager
def expensive_work(request: HttpRequest) -> Iterator[None]:
    """Run expensive work of a request: with a place, longer statements, and its time charged to the caller.

    Raises TooManyAtOnce, ExpensiveWorkBusy.
    """
    principal = getattr(request, "principal", None)
    caller = rate_limit_key(principal, client_network(client_address(request)))
    with expensive_work_of(caller), statement_time_limit(STATEMENT_SECONDS):
        yield


@contextmanager
def expensive_work_of(caller: str) -> Iterator[None]:
    """Run expensive work of a caller, a key of `rate_limit_key`. Raises TooManyAtOnce, ExpensiveWorkBusy."""
    with _slots().hold(caller):
        started = time.monotonic()
        try:
            yield
        finally:
            charge(caller, time.monotonic() - started)


def charge(caller: str, seconds: float) -> None:
    """Charge the time of work to a rate limit, at most a full bucket. Without Redis nothing is charged."""
    requests = int(seconds / SECONDS_PER_REQUEST)
    if requests == 0:
        return
    cost = requests * MINUTE_MICROSECONDS // settings.RATE_LIMIT
    try:
        redis.call(lambda client: client.eval(CHARGE_SCRIPT, 1, f"limit:{caller}", cost, MINUTE_MICROSECONDS))
    except redis.RedisUnavailable:
        return


class SlowRequests:
    """The requests in progress of each caller. One whose requests are slow has at most `limit` of them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._starts: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def track(self, caller: str) -> Iterator[None]:
        """Track a request of a caller. Raises TooManyAtOnce."""
        now = time.monotonic()
        with self._lock:
            starts = self._starts.setdefault(caller, [])
            if sum(now - start > SLOW_SECONDS for start in starts) >= self.limit:
                raise TooManyAtOnce
            starts.append(now)
        try:
            yield
        finally:
            with self._lock:
                starts.remove(now)
                if not starts:
                    del self._starts[caller]
