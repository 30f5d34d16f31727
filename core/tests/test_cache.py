import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import cache as django_cache
from redis import Redis

from config import embedded_servers
from core.storage import cache


@pytest.fixture(autouse=True)
def empty_cache():
    cache.clear("tenant-1")
    cache.clear("tenant-2")


def test_set_caches_a_value_for_one_tenant_until_delete():
    cache.set("tenant-1", "a", {"x": [1, 2.5, None, "é"]}, seconds=60)

    assert (cache.get("tenant-1", "a"), cache.get("tenant-2", "a"), cache.get("tenant-2", "a", 7)) == (
        {"x": [1, 2.5, None, "é"]},
        None,
        7,
    )
    cache.delete("tenant-1", "a")
    assert cache.get("tenant-1", "a") is None


def test_get_or_set_computes_a_value_once_for_parallel_callers():
    calls = []

    def compute():
        calls.append(threading.get_ident())
        time.sleep(0.2)
        return len(calls)

    with ThreadPoolExecutor(12) as pool:
        values = set(pool.map(lambda _: cache.get_or_set("tenant-1", "slow", compute, seconds=60), range(24)))

    assert (values, len(calls)) == ({1}, 1)


def test_get_or_set_reads_again_after_it_got_the_lock(monkeypatch):
    """The first read misses, and before the lock is taken another caller has cached the value."""
    original_add = django_cache.add

    def slow_add(*arguments, **options):
        cache.set("tenant-1", "raced", "other", seconds=60)
        return original_add(*arguments, **options)

    monkeypatch.setattr(cache._cache, "add", slow_add)

    assert cache.get_or_set("tenant-1", "raced", lambda: "own", seconds=60) == "other"


def test_get_or_set_releases_the_lock_when_the_computation_fails():
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.get_or_set("tenant-1", "bad", fail, seconds=60)

    started = time.monotonic()
    assert cache.get_or_set("tenant-1", "bad", lambda: "good", seconds=60) == "good"
    assert time.monotonic() - started < 5


def test_clear_deletes_the_names_of_one_tenant_with_the_prefix():
    for tenant in ("tenant-1", "tenant-2"):
        for name in ("page:1", "page:2", "menu", "pa*"):
            cache.set(tenant, name, 1, seconds=60)

    assert cache.clear("tenant-1", "page:") == 2
    assert cache.clear("tenant-1", "pa*") == 1
    assert [cache.get("tenant-1", "menu"), cache.get("tenant-2", "page:1"), cache.get("tenant-2", "pa*")] == [
        1,
        1,
        1,
    ]


def test_get_or_set_caches_none():
    calls = []
    for _ in range(2):
        cache.get_or_set("tenant-1", "none", lambda: calls.append(1), seconds=60)

    assert len(calls) == 1


@pytest.mark.parametrize("tenant", ["", "a:b"])
def test_cache_key_refuses_an_invalid_tenant(tenant):
    with pytest.raises(ValueError, match="tenant"):
        cache.get(tenant, "x")


def test_set_stores_json():
    cache.set("tenant-1", "plain", {"a": 1}, seconds=60)

    client = django_cache.client.get_client()  # type: ignore[attr-defined]
    stored = client.get(django_cache.make_key(cache.cache_key("tenant-1", "plain")))  # type: ignore[attr-defined]
    assert (isinstance(client, Redis), stored) == (True, b'{"a": 1}')


def test_set_bytes_stores_the_bytes_unchanged():
    cache.set_bytes("tenant-1", "page", b"\x00\xff", seconds=60)

    assert (cache.get_bytes("tenant-1", "page"), cache.get_bytes("tenant-2", "page")) == (b"\x00\xff", None)


def test_get_misses_when_redis_is_unavailable(settings):
    settings.CACHES = {
        "default": {
            **settings.CACHES["default"],
            "LOCATION": f"redis://127.0.0.1:{embedded_servers.free_port()}/0",
        }
    }

    cache.set("tenant-1", "a", 1, seconds=60)
    cache.set_bytes("tenant-1", "a", b"1", seconds=60)
    cache.delete("tenant-1", "a")
    results = [
        cache.get("tenant-1", "a", "default"),
        cache.get_bytes("tenant-1", "a"),
        cache.get_or_set("tenant-1", "a", lambda: "computed", seconds=60),
        cache.clear("tenant-1"),
    ]

    assert results == ["default", None, "computed", 0]


@pytest.mark.parametrize("prefix", ["pa*", "p?", "p[a-z]", "\\"])
def test_clear_escapes_pattern_characters_in_the_prefix(prefix):
    for name in ("page:1", "pages", "pz", f"{prefix}1"):
        cache.set("tenant-1", name, 1, seconds=60)

    assert cache.clear("tenant-1", prefix) == 1
    assert [cache.get("tenant-1", name) for name in ("page:1", "pages", "pz", f"{prefix}1")] == [
        1,
        1,
        1,
        None,
    ]
