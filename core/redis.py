"""The Redis that must not lose: limits, revocations, streams. Short timeouts, and a pause after each failure."""

import time
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import redis
import structlog
from django.conf import settings

PAUSE_SECONDS = 2.0  # after a failure nobody waits for Redis again for this long
T = TypeVar("T")

log = structlog.get_logger(__name__)


class RedisAway(Exception):
    """Redis refused, froze, or did so within the last `PAUSE_SECONDS`."""


class Breaker:
    """Lets calls through while Redis answers, and fails them at once for a while after it did not."""

    def __init__(self) -> None:
        self._until = 0.0

    def call(self, act: Callable[[redis.Redis], T]) -> T:
        """The result of `act(client)`. Raises RedisAway."""
        if time.monotonic() < self._until:
            raise RedisAway
        try:
            return act(client())
        except redis.RedisError as error:
            self._until = time.monotonic() + PAUSE_SECONDS
            log.warning("redis_away", error=type(error).__name__, detail=str(error)[:100])
            raise RedisAway from None

    def close(self) -> None:
        """Trust Redis again at once: it was just seen to answer."""
        self._until = 0.0


_breaker = Breaker()
call, close_breaker = _breaker.call, _breaker.close


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
