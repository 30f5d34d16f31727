"""A bounded cache in the memory of one process, for several threads."""

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf
from typing import Generic, TypeVar

from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[V]):
    value: V
    expires_at: float
    size: int


class MemoryCache(Generic[K, V]):
    """Keeps at most `max_size` of values; the least recently used value is evicted first.

    The size of a value is `size_of(value)`, or 1. `lock` is held by each method; hold it yourself to make
    several calls one step.
    """

    def __init__(self, max_size: int, *, size_of: Callable[[V], int] | None = None) -> None:
        self.lock = threading.RLock()
        self._size_of = size_of
        self._entries: LRUCache[K, _Entry[V]] = LRUCache(max_size, getsizeof=lambda entry: entry.size)
        self._creating: dict[K, threading.Lock] = {}

    def get(self, key: K) -> V | None:
        """Return the value of `key`; None when it is missing or has expired."""
        with self.lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry.expires_at <= time.monotonic():
                del self._entries[key]
                return None
            return entry.value

    def set(self, key: K, value: V, *, seconds: float = inf) -> None:
        """Keep `value` for `seconds`. A value larger than the whole cache is not kept."""
        size = self._size_of(value) if self._size_of else 1
        with self.lock:
            self._entries.pop(key, None)
            if size <= self._entries.maxsize:
                self._entries[key] = _Entry(value, time.monotonic() + seconds, size)

    def get_or_create(self, key: K, create: Callable[[], V | None]) -> V | None:
        """Return the value of `key`, or `create()`, which is kept if it is a value.

        Of several threads that ask for the same key at once, one creates the value and the others wait for
        it.
        """
        with self.lock:
            creating = self._creating.setdefault(key, threading.Lock())
        with creating:
            try:
                value = self.get(key)
                if value is None:
                    value = create()
                    if value is not None:
                        self.set(key, value)
            finally:
                self._creating.pop(key, None)
        return value

    def pop(self, key: K) -> None:
        """Remove the value of `key`, if there is one."""
        with self.lock:
            self._entries.pop(key, None)

    def pop_where(self, matches: Callable[[K], bool]) -> None:
        """Remove every value whose key matches."""
        with self.lock:
            for key in [key for key in self._entries if matches(key)]:
                del self._entries[key]

    def clear(self) -> None:
        """Remove all values."""
        with self.lock:
            self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """The sum of the sizes of all values."""
        return int(self._entries.currsize)
