"""The Redis that must not lose: limits, revocations, streams.

Short timeouts, and a pause after each failure.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import redis
import structlog
from django.conf import settings

PAUSE_SECONDS = 2.0  # after a failure nobody waits for Redis again for this long
T = TypeVar("T")

log = structlog.get_logger(__name__)


class RedisUnavailable(Exception):
    """Redis refused, froze, or did so within the last `PAUSE_SECONDS`."""


class CircuitBreaker:
    """Lets calls through while Redis answers, and fails them at once for a while after it did not."""

    def __init__(self) -> None:
        self._until = 0.0
        self._unsent: deque[Callable[[redis.Redis], Any]] = deque(maxlen=10_000)

    def call(self, act: Callable[[redis.Redis], T]) -> T:
        """The result of `act(client)`. Raises RedisAway."""
        if time.monotonic() < self._until:
            raise RedisUnavailable
        try:
            answer = act(client())
            if self._unsent:
                self._send_unsent()
            return answer
        except redis.RedisError as error:
            self._until = time.monotonic() + PAUSE_SECONDS
            log.warning("redis_away", error=type(error).__name__, detail=str(error)[:100])
            raise RedisUnavailable from None

    def deliver(self, act: Callable[[redis.Redis], T]) -> bool:
        """Do `act` now, whatever the breaker thinks; if it fails, again right after the next call that
        succeeds.

        For news that others wait for. Returns whether it was done now.
        """
        try:
            act(client())
        except redis.RedisError as error:
            log.warning("redis_delivery_waits", error=type(error).__name__)
            self._unsent.append(act)
            return False
        return True

    def _send_unsent(self) -> None:
        for _ in range(len(self._unsent)):
            try:
                act = self._unsent.popleft()
            except IndexError:  # another thread was as quick
                return
            if not self.deliver(act):
                return

    def close(self) -> None:
        """Trust Redis again at once: it was just seen to answer."""
        self._until = 0.0


_breaker = CircuitBreaker()
call = _breaker.call
deliver = _breaker.deliver
close_breaker = _breaker.close


@cache
def client() -> redis.Redis:
    """The one client of this process for REDIS_URL."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=None,
        health_check_interval=0,
    )
