"""Argon2id password hashing at a fixed cost, with a limit on parallel hashes.

Hashes are computed by threads with a low priority, so that a flood of sign-ups leaves the processor to other
requests.
"""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from core.errors import Unavailable

WAIT_SECONDS = 2.0
MAX_WAITING_CALLERS = 32  # in one process; further callers get HashingBusy at once
LOW_PRIORITY = 10  # as in nice(1); about a tenth of the share of a thread without it
T = TypeVar("T")


class HashingBusy(Unavailable):
    code = "hashing_busy"
    message = "Too many people are signing in at the moment. Try again in a few seconds."


class _HashingSlots:
    """Context manager that limits parallel hashes to `settings.HASH_CONCURRENCY`, or less with few threads.

    Each hash uses 64 MiB and one core. Raises HashingBusy on entry when no slot becomes free in time.
    """

    def __init__(self) -> None:
        # In a web process one thread always stays free of passwords, so that a flood of sign-ups stops
        # nobody.
        threads = settings.ENV.web_threads if settings.ENV.process == "web" else MAX_WAITING_CALLERS
        running = max(1, min(settings.HASH_CONCURRENCY, threads - 2))
        self._running = threading.BoundedSemaphore(running)
        self._waiting = threading.BoundedSemaphore(max(1, min(MAX_WAITING_CALLERS, threads - 1 - running)))

    def __enter__(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise HashingBusy
        try:
            if not self._running.acquire(timeout=WAIT_SECONDS):
                raise HashingBusy
        finally:
            self._waiting.release()

    def __exit__(self, *_: object) -> None:
        self._running.release()


def _run_with_low_priority(action: Callable[[], T]) -> T:
    """Return the result of `action`, run by a thread with a low priority. The lanes of Argon2 inherit it."""
    return _hashing_threads().submit(action).result()


@cache
def _hashing_threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        settings.HASH_CONCURRENCY,
        thread_name_prefix="hashing",
        initializer=lambda: os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY),
    )


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id with m=65536 KiB, t=3, p=4 (RFC 9106, second recommended option), unlike Django's default.

    `encode` and `verify` raise HashingBusy.
    """

    memory_cost = 65536
    time_cost = 3
    parallelism = 4
    slots = _HashingSlots()

    def encode(self, password: str, salt: str) -> Any:
        with self.slots:
            return _run_with_low_priority(lambda: super(Argon2Hasher, self).encode(password, salt))

    def verify(self, password: str, encoded: str) -> bool:
        with self.slots:
            return bool(_run_with_low_priority(lambda: super(Argon2Hasher, self).verify(password, encoded)))

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Do nothing: all stored hashes have the same cost, so there is no difference to hide."""
