"""Argon2id password hashing at a fixed cost, with a limit on parallel hashes."""

import threading
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from core.errors import Unavailable

WAIT_SECONDS = 2.0
MAX_WAITING_CALLERS = 32  # in one process; further callers get HashingBusy at once


class HashingBusy(Unavailable):
    code = "hashing_busy"
    message = "Too many people are signing in at the moment. Try again in a few seconds."


class _HashingSlots:
    """Context manager that limits parallel hashes to `settings.HASH_CONCURRENCY`.

    Each hash uses 64 MiB and one core. Raises HashingBusy on entry when no slot becomes free in time.
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
    """Argon2id with m=65536 KiB, t=3, p=4 (RFC 9106, second recommended option), unlike Django's default.

    `encode` and `verify` raise HashingBusy.
    """

    memory_cost = 65536
    time_cost = 3
    parallelism = 4
    slots = _HashingSlots()

    def encode(self, password: str, salt: str) -> Any:
        with self.slots:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with self.slots:
            return bool(super().verify(password, encoded))

    def harden_runtime(self, password: str, encoded: str) -> None:
        """Do nothing: all stored hashes have the same cost, so there is no difference to hide."""
