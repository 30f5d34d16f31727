"""The Redis that must not lose data (REDIS_URL): limits, revocations, streams.

Timeouts are short, and after a failure callers do not wait for Redis again for `PAUSE_SECONDS`.
"""

from collections import deque
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

import redis
import structlog
from django.conf import settings

from core.storage.circuit_breaker import CircuitBreaker

PAUSE_SECONDS = 2.0
MAX_UNDELIVERED = 10_000
T = TypeVar("T")

log = structlog.get_logger(__name__)
_breaker = CircuitBreaker(PAUSE_SECONDS)
_undelivered: deque[Callable[[redis.Redis], Any]] = deque(maxlen=MAX_UNDELIVERED)


class RedisUnavailable(Exception):
    """Redis refused or timed out, now or within the last `PAUSE_SECONDS`."""


def call(command: Callable[[redis.Redis], T]) -> T:
    """Return `command(client)`. Raises RedisUnavailable."""
    if _breaker.is_open:
        raise RedisUnavailable
    try:
        result = command(client())
        if _undelivered:
            _deliver_again()
        return result
    except redis.RedisError as error:
        _breaker.open()
        log.warning("redis_unavailable", error=type(error).__name__, detail=str(error)[:100])
        raise RedisUnavailable from None


def deliver(command: Callable[[redis.Redis], T]) -> bool:
    """Execute a write that other processes wait for, also while the circuit breaker is open.

    When it fails it is executed again after the next call that succeeds. Returns whether it succeeded now.
    """
    try:
        command(client())
    except redis.RedisError as error:
        log.warning("redis_delivery_delayed", error=type(error).__name__)
        _undelivered.append(command)
        return False
    return True


def _deliver_again() -> None:
    for _ in range(len(_undelivered)):
        try:
            command = _undelivered.popleft()
        except IndexError:  # another thread took the last one
            return
        if not deliver(command):
            return


def close_breaker() -> None:
    """Ask Redis again at once, because it was just seen to answer."""
    _breaker.close()


def is_breaker_open() -> bool:
    """Return whether callers do not ask Redis now, because it did not answer a moment ago."""
    return _breaker.is_open


@cache
def client() -> redis.Redis:
    """Return this process's client of REDIS_URL."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=None,
        health_check_interval=0,
    )
