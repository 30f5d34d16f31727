"""The Redis that must not lose data (REDIS_URL): limits, revocations, streams.

Timeouts are short, and after a failure callers do not wait for Redis again for `PAUSE_SECONDS`.
"""

import itertools
import threading
import time
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
DELIVERY_RETRY_SECONDS = 0.1
T = TypeVar("T")

log = structlog.get_logger(__name__)
_breaker = CircuitBreaker(PAUSE_SECONDS)
_undelivered: deque[Callable[[redis.Redis], Any]] = deque(maxlen=MAX_UNDELIVERED)
_delivery_lock = threading.Lock()
_delivery_thread: threading.Thread | None = None
_connection_numbers = itertools.count(1)
_connections_made = 0


class RedisUnavailable(Exception):
    """Redis refused or timed out, now or within the last `PAUSE_SECONDS`."""


def call(command: Callable[[redis.Redis], T]) -> T:
    """Return `command(client)`. Raises RedisUnavailable."""
    return guarded(lambda: command(client()))


def guarded(command: Callable[..., T], *arguments: Any) -> T:
    """Return `command(*arguments)`, unless the circuit breaker is open. Raises RedisUnavailable."""
    if _breaker.is_open:
        raise RedisUnavailable
    try:
        return command(*arguments)
    except redis.RedisError as error:
        _breaker.open()
        log.warning("redis_unavailable", error=type(error).__name__, detail=str(error)[:100])
        raise RedisUnavailable from None


def deliver(command: Callable[[redis.Redis], T]) -> bool:
    """Execute a write that other processes wait for, also while the circuit breaker is open.

    When it fails, a thread of this process executes it as soon as Redis answers again. Returns whether it
    succeeded now.
    """
    try:
        command(client())
    except redis.RedisError as error:
        log.warning("redis_delivery_delayed", error=type(error).__name__)
        deliver_later(command)
        return False
    return True


def deliver_later(command: Callable[[redis.Redis], Any]) -> None:
    """Let a thread of this process execute a write as soon as Redis answers."""
    global _delivery_thread
    with _delivery_lock:
        _undelivered.append(command)
        if _delivery_thread is None:
            _delivery_thread = threading.Thread(
                target=_deliver_undelivered, name="redis-delivery", daemon=True
            )
            _delivery_thread.start()


def _deliver_undelivered() -> None:
    """Execute the writes that failed, in their order, until none is left."""
    global _delivery_thread
    while True:
        with _delivery_lock:
            if not _undelivered:
                _delivery_thread = None
                return
            command = _undelivered[0]
        try:
            command(client())
        except redis.RedisError:
            time.sleep(DELIVERY_RETRY_SECONDS)
            continue
        with _delivery_lock:
            if _undelivered and _undelivered[0] is command:  # a full queue drops its oldest entry
                _undelivered.popleft()


def close_breaker() -> None:
    """Ask Redis again at once, because it was just seen to answer."""
    _breaker.close()


def is_breaker_open() -> bool:
    """Return whether callers do not ask Redis now, because it did not answer a moment ago."""
    return _breaker.is_open


def connections_made() -> int:
    """Return how many connections this process has made.

    A change means that Redis may have been away, and may have come back with older data.
    """
    return _connections_made


def _count_connection(connection: Any) -> None:
    """Set up a new connection as redis-py does, and count it."""
    global _connections_made
    connection.on_connect()
    _connections_made = next(_connection_numbers)


@cache
def client() -> redis.Redis:
    """Return this process's client of REDIS_URL."""
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=settings.REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=settings.REDIS_TIMEOUT_SECONDS,
        retry=None,
        health_check_interval=0,
        redis_connect_func=_count_connection,
    )
