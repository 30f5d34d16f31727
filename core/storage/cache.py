"""The cache, in the Redis at CACHE_REDIS_URL, which may evict any key.

Each key belongs to a tenant. Values are JSON, or bytes with `get_bytes` and `set_bytes`. When Redis is
unavailable, reads are misses and writes are skipped.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from django.core.cache import cache as _cache
from django_redis import get_redis_connection
from redis import RedisError

LOCK_SECONDS = 10
POLL_INTERVAL_SECONDS = 0.02
_MISSING = object()
log = structlog.get_logger(__name__)


def cache_key(tenant: str, name: str) -> str:
    """Return the Redis key of a name that belongs to a tenant. Raises ValueError for an invalid tenant.

    `tenant` is the id of a user or site, or `shared`. Two customers therefore never share a key.
    """
    if not tenant or ":" in tenant:
        raise ValueError("a cache key needs a tenant without a colon")
    return f"{tenant}:{name}"


def get(tenant: str, name: str, default: Any = None) -> Any:
    """Return the cached value, or `default` when it is missing."""
    try:
        return _cache.get(cache_key(tenant, name), default)
    except RedisError:
        return default


def set(tenant: str, name: str, value: Any, *, seconds: int) -> None:  # noqa: A001
    """Cache a JSON value for `seconds`."""
    try:
        _cache.set(cache_key(tenant, name), value, timeout=seconds)
    except RedisError:
        log.warning("cache_unavailable", operation="set")


def delete(tenant: str, name: str) -> None:
    """Delete a cached value, if it exists."""
    try:
        _cache.delete(cache_key(tenant, name))
    except RedisError:
        log.warning("cache_unavailable", operation="delete")


def get_or_set(tenant: str, name: str, compute: Callable[[], Any], *, seconds: int) -> Any:
    """Return the cached value; without one, call `compute()` and cache its result for `seconds`.

    When several callers need the value at the same time, one of them computes it and the others wait up to
    `LOCK_SECONDS` for it.
    """
    redis_key = cache_key(tenant, name)
    try:
        value = _cache.get(redis_key, _MISSING)
        deadline = time.monotonic() + LOCK_SECONDS
        while value is _MISSING and not _cache.add(f"{redis_key}:making", 1, timeout=LOCK_SECONDS):
            if time.monotonic() > deadline:
                return compute()
            time.sleep(POLL_INTERVAL_SECONDS)
            value = _cache.get(redis_key, _MISSING)
        if value is not _MISSING:
            return value
        # Another caller may have computed the value between our first read and our lock.
        value = _cache.get(redis_key, _MISSING)
    except RedisError:
        return compute()
    try:
        if value is _MISSING:
            value = compute()
            set(tenant, name, value, seconds=seconds)
    finally:
        delete(tenant, f"{name}:making")
    return value


def clear(tenant: str, prefix: str = "") -> int:
    """Delete the names of `tenant` that start with `prefix`; return their number.

    It scans all keys of the database, so it is for rare use. It never uses FLUSHDB.
    """
    pattern = "".join(
        f"\\{character}" if character in "*?[]\\" else character for character in cache_key(tenant, prefix)
    )
    try:
        return int(_cache.delete_pattern(f"{pattern}*"))  # type: ignore[attr-defined]
    except RedisError:
        log.warning("cache_unavailable", operation="clear")
        return 0


def get_bytes(tenant: str, name: str) -> bytes | None:
    """Return the bytes that `set_bytes` cached; None when they are missing."""
    try:
        value: bytes | None = get_redis_connection("default").get(f"bytes:{cache_key(tenant, name)}")
    except RedisError:
        return None
    return value


def set_bytes(tenant: str, name: str, value: bytes, *, seconds: int) -> None:
    """Cache bytes for `seconds`."""
    try:
        get_redis_connection("default").set(f"bytes:{cache_key(tenant, name)}", value, ex=seconds)
    except RedisError:
        log.warning("cache_unavailable", operation="set_bytes")
