"""Argon2id at the declared cost, with a bound on how many hashes run at once."""

import threading
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from core.errors import Unavailable

WAIT_SECONDS = 2.0
MAX_WAITING_CALLERS = 32  # callers that may wait in one process; more are told to come back at once


class HashingBusy(Unavailable):
    code = "hashing_busy"
    message = "Too many people sign in at this moment. Try again in a few seconds."


class _HashingSlots:
    """As many hashes at once as `settings.HASH_CONCURRENCY`: each takes 64 MiB and a core for its whole
    length.
    """

    def __init__(self) -> None:
        self._running = threading.BoundedSemaphore(settings.HASH_CONCURRENCY)
        self._waiting = threading.BoundedSemaphore(MAX_WAITING_CALLERS)

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


class Argon2Hasher(Argon2PasswordHasher):
    """m=65536 KiB, t=3, p=4 (RFC 9106, second recommended option). Django's own default differs."""

    memory_cost = 65536
    time_cost = 3
    parallelism = 4
    permits = _HashingSlots()

    def encode(self, password: str, salt: str) -> Any:
        with self.permits:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with self.permits:
            return bool(super().verify(password, encoded))

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Every stored hash has the one cost, so there is nothing to level."""
