import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import cache as django_cache
from redis import Redis

from config import embedded_servers
from core.storage import cache


@pytest.fixture(autouse=True)
def empty():
    cache.clear("one")
    cache.clear("two")


def test_values_are_kept_for_one_tenant_and_deleted():
    cache.set("one", "a", {"x": [1, 2.5, None, "é"]}, seconds=60)

    assert (cache.get("one", "a"), cache.get("two", "a"), cache.get("two", "a", 7)) == (
        {"x": [1, 2.5, None, "é"]},
        None,
        7,
    )
    cache.delete("one", "a")
    assert cache.get("one", "a") is None


def test_of_many_callers_one_makes_the_value_and_all_get_it():
    made = []

    def make():
        made.append(threading.get_ident())
        time.sleep(0.2)
        return len(made)

    with ThreadPoolExecutor(12) as pool:
        values = set(pool.map(lambda _: cache.get_or_set("one", "slow", make, seconds=60), range(24)))

    assert (values, len(made)) == ({1}, 1)


def test_whoever_looked_before_it_was_made_and_locks_after_makes_it_no_second_time(monkeypatch):
    """The first look misses; until the lock is taken another caller has made the value."""
    genuine = django_cache.add

    def slow(*arguments, **options):
        cache.set("one", "raced", "theirs", seconds=60)
        return genuine(*arguments, **options)

    monkeypatch.setattr(cache._cache, "add", slow)

    assert cache.get_or_set("one", "raced", lambda: "ours", seconds=60) == "theirs"


def test_a_maker_that_fails_leaves_the_way_free_for_the_next():
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.get_or_set("one", "bad", fail, seconds=60)

    started = time.monotonic()
    assert cache.get_or_set("one", "bad", lambda: "good", seconds=60) == "good"
    assert time.monotonic() - started < 5


def test_clear_takes_one_tenants_prefix_and_nothing_else():
    for tenant in ("one", "two"):
        for name in ("page:1", "page:2", "menu", "pa*"):
            cache.set(tenant, name, 1, seconds=60)

    assert cache.clear("one", "page:") == 2
    assert cache.clear("one", "pa*") == 1
    assert [cache.get("one", "menu"), cache.get("two", "page:1"), cache.get("two", "pa*")] == [1, 1, 1]


def test_none_and_false_are_values():
    calls = []
    for _ in range(2):
        cache.get_or_set("one", "none", lambda: calls.append(1), seconds=60)

    assert len(calls) == 1


@pytest.mark.parametrize("tenant", ["", "a:b"])
def test_a_key_without_a_tenant_is_refused(tenant):
    with pytest.raises(ValueError, match="tenant"):
        cache.get(tenant, "x")


def test_what_is_stored_is_json_and_never_a_pickle():
    cache.set("one", "plain", {"a": 1}, seconds=60)

    client = django_cache.client.get_client()  # type: ignore[attr-defined]
    stored = client.get(django_cache.make_key(cache.cache_key("one", "plain")))  # type: ignore[attr-defined]
    assert (isinstance(client, Redis), stored) == (True, b'{"a": 1}')


def test_bytes_are_kept_as_they_are():
    cache.set_bytes("one", "page", b"\x00\xff", seconds=60)

    assert (cache.get_bytes("one", "page"), cache.get_bytes("two", "page")) == (b"\x00\xff", None)


def test_a_cache_that_is_away_is_a_miss_and_never_an_error(settings):
    settings.CACHES = {
        "default": {
            **settings.CACHES["default"],
            "LOCATION": f"redis://127.0.0.1:{embedded_servers.free_port()}/0",
        }
    }

    cache.set("one", "a", 1, seconds=60)
    cache.set_bytes("one", "a", b"1", seconds=60)
    cache.delete("one", "a")
    found = [
        cache.get("one", "a", "default"),
        cache.get_bytes("one", "a"),
        cache.get_or_set("one", "a", lambda: "made", seconds=60),
        cache.clear("one"),
    ]

    assert found == ["default", None, "made", 0]


@pytest.mark.parametrize("prefix", ["pa*", "p?", "p[a-z]", "\\"])
def test_clear_reads_a_prefix_as_it_is_written(prefix):
    for name in ("page:1", "pages", "pz", f"{prefix}1"):
        cache.set("one", name, 1, seconds=60)

    assert cache.clear("one", prefix) == 1
    assert [cache.get("one", name) for name in ("page:1", "pages", "pz", f"{prefix}1")] == [1, 1, 1, None]
