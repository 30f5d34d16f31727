"""The cache in process memory: bounds, expiry, eviction order, and one creator for each key."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.storage import memory_cache
from core.storage.circuit_breaker import CircuitBreaker
from core.storage.memory_cache import MemoryCache


def test_memory_cache_evicts_the_least_recently_used_value():
    cache = MemoryCache(2)
    cache.set("a", 1)
    cache.set("b", 2)
    cache.get("a")
    cache.set("c", 3)

    assert {key: cache.get(key) for key in "abc"} == {"a": 1, "b": None, "c": 3}


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12))))
def test_memory_cache_never_exceeds_its_size(writes):
    cache = MemoryCache(10, size_of=lambda value: value)
    for key, value in writes:
        cache.set(key, value)

        assert cache.get(key) == (value if value <= 10 else None)
        assert cache.size <= 10


def test_memory_cache_get_returns_none_once_a_value_has_expired(monkeypatch):
    cache = MemoryCache(10)
    cache.set("key", "value", seconds=5)
    now = time.monotonic()

    monkeypatch.setattr(memory_cache.time, "monotonic", lambda: now + 4)
    assert cache.get("key") == "value"
    monkeypatch.setattr(memory_cache.time, "monotonic", lambda: now + 6)
    assert (cache.get("key"), len(cache)) == (None, 0)


def test_memory_cache_get_or_create_creates_once_for_many_threads():
    cache = MemoryCache(10)
    created = []
    start = threading.Barrier(8)

    def create():
        created.append(1)
        time.sleep(0.05)
        return "value"

    def read(_):
        start.wait(10)
        return cache.get_or_create("key", create)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == ["value"] * 8
    assert created == [1]


def test_memory_cache_get_or_create_keeps_neither_none_nor_an_error():
    cache = MemoryCache(10)
    answers = iter([None, ValueError, "value"])

    def create():
        answer = next(answers)
        if answer is ValueError:
            raise ValueError
        return answer

    assert cache.get_or_create("key", create) is None
    with pytest.raises(ValueError):  # noqa: PT011 - the one that create() raises
        cache.get_or_create("key", create)
    assert cache.get_or_create("key", create) == "value"


def test_memory_cache_pop_where_removes_matching_keys():
    cache = MemoryCache(10)
    for key in range(6):
        cache.set(key, key)

    cache.pop_where(lambda key: key % 2 == 0)

    assert [key for key in range(6) if cache.get(key) is not None] == [1, 3, 5]


def test_circuit_breaker_is_open_for_its_pause_and_closes_when_told(monkeypatch):
    breaker = CircuitBreaker(2.0)
    now = time.monotonic()
    assert not breaker.is_open

    breaker.open()
    assert breaker.is_open
    breaker.close()
    assert not breaker.is_open

    breaker.open()
    monkeypatch.setattr(time, "monotonic", lambda: now + 3)
    assert not breaker.is_open
