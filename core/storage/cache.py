"""A cache that may forget, on CACHE_REDIS_URL.

Keys name their tenant; values are JSON; Redis away is a miss.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from django.core.cache import cache as _cache
from django_redis import get_redis_connection
from redis import RedisError

LOCK_SECONDS = 10
_MISSING = object()
log = structlog.get_logger(__name__)


def cache_key(tenant: str, name: str) -> str:
    """`tenant` is a user or site id, or `shared`: two customers can never share a key by accident."""
    if not tenant or ":" in tenant:
        raise ValueError("a cache key needs a tenant without a colon")
    return f"{tenant}:{name}"


def get(tenant: str, name: str, default: Any = None) -> Any:
    try:
        return _cache.get(cache_key(tenant, name), default)
    except RedisError:
        return default


def set(tenant: str, name: str, value: Any, *, seconds: int) -> None:  # noqa: A001 - the field's word for it
    try:
        _cache.set(cache_key(tenant, name), value, timeout=seconds)
    except RedisError:
        log.warning("cache_away", act="set")


def delete(tenant: str, name: str) -> None:
    try:
        _cache.delete(cache_key(tenant, name))
    except RedisError:
        log.warning("cache_away", act="delete")


def get_or_set(tenant: str, name: str, make: Callable[[], Any], *, seconds: int) -> Any:
    """The kept value, or `make()` kept for `seconds`.

    Of many callers at once one makes it; the others wait for it.
    """
    full = cache_key(tenant, name)
    try:
        value = _cache.get(full, _MISSING)
        deadline = time.monotonic() + LOCK_SECONDS
        while value is _MISSING and not _cache.add(f"{full}:making", 1, timeout=LOCK_SECONDS):
            if time.monotonic() > deadline:
                return make()
            time.sleep(0.02)
            value = _cache.get(full, _MISSING)
        if value is not _MISSING:
            return value
        value = _cache.get(
            full, _MISSING
        )  # whoever had the lock a moment ago may have made it since we looked
    except RedisError:
        return make()
    try:
        if value is _MISSING:
            value = make()
            set(tenant, name, value, seconds=seconds)
    finally:
        delete(tenant, f"{name}:making")
    return value


def clear(tenant: str, prefix: str = "") -> int:
    """Forget every key of `tenant` that starts with `prefix`; return how many.

    Scans: for rare use, never FLUSHDB.
    """
    pattern = "".join(
        f"\\{character}" if character in "*?[]\\" else character for character in cache_key(tenant, prefix)
    )
    try:
        return int(_cache.delete_pattern(f"{pattern}*"))  # type: ignore[attr-defined]
    except RedisError:
        log.warning("cache_away", act="clear")
        return 0


def get_bytes(tenant: str, name: str) -> bytes | None:
    """Raw bytes kept by `set_bytes`; None when they are gone."""
    try:
        found: bytes | None = get_redis_connection("default").get(f"bytes:{cache_key(tenant, name)}")
    except RedisError:
        return None
    return found


def set_bytes(tenant: str, name: str, value: bytes, *, seconds: int) -> None:
    try:
        get_redis_connection("default").set(f"bytes:{cache_key(tenant, name)}", value, ex=seconds)
    except RedisError:
        log.warning("cache_away", act="set_bytes")
