"""The client for REDIS_URL, the Redis that must not lose data: rate limits, revocations and streams.

It has short timeouts and a circuit breaker: after a failure, calls fail at once for some time instead of
waiting for another timeout.
"""

import time
from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import redis
import structlog
from django.conf import settings

PAUSE_SECONDS = 2.0  # time after a failure in which calls fail at once
T = TypeVar("T")

log = structlog.get_logger(__name__)


class RedisUnavailable(Exception):
    """Redis refused a call or did not answer in time, now or within the last `PAUSE_SECONDS`."""


class CircuitBreaker:
    """Calls Redis, and after a failure raises RedisUnavailable at once for `PAUSE_SECONDS`."""

    def __init__(self) -> None:
        self._until = 0.0
        self._unsent: deque[Callable[[redis.Redis], Any]] = deque(maxlen=10_000)

    def call(self, operation: Callable[[redis.Redis], T]) -> T:
        """Return the result of `operation(client)`. Raises RedisUnavailable."""
        if time.monotonic() < self._until:
            raise RedisUnavailable
        try:
            result = operation(client())
            if self._unsent:
                self._send_unsent()
            return result
        except redis.RedisError as error:
            self._until = time.monotonic() + PAUSE_SECONDS
            log.warning("redis_unavailable", error=type(error).__name__, detail=str(error)[:100])
            raise RedisUnavailable from None

    def deliver(self, operation: Callable[[redis.Redis], T]) -> bool:
        """Run `operation(client)` now, also during a pause; return whether it succeeded.

        An operation that failed is repeated after the next successful call. For messages that other processes
        wait for.
        """
        try:
            operation(client())
        except redis.RedisError as error:
            log.warning("redis_delivery_postponed", error=type(error).__name__)
            self._unsent.append(operation)
            return False
        return True

    def _send_unsent(self) -> None:
        for _ in range(len(self._unsent)):
            try:
                operation = self._unsent.popleft()
            except IndexError:  # another thread took the last one
                return
            if not self.deliver(operation):
                return

    def close(self) -> None:
        """End the pause, because Redis is known to answer again."""
        self._until = 0.0


_breaker = CircuitBreaker()
call = _breaker.call
deliver = _breaker.deliver
close_breaker = _breaker.close


@cache
def client() -> redis.Redis:
    """Return the client of this process for REDIS_URL."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=None,
        health_check_interval=0,
    )
