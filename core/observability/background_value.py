"""Values that a thread of its own computes, so that nobody waits longer for them than they want to."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.db import connection

T = TypeVar("T")


class BackgroundValue(Generic[T]):
    """The result of `compute`, kept for `lifetime_seconds`.

    `compute` runs in a thread that waits for a frozen server in place of the caller. At most one runs at a
    time.
    """

    def __init__(self, compute: Callable[[], T], *, lifetime_seconds: float) -> None:
        self.compute = compute
        self.lifetime_seconds = lifetime_seconds
        self._changed = threading.Condition()
        self._is_running = False
        self._computed_at: float | None = None  # monotonic time
        self._value: T | None = None

    def start(self) -> None:
        """Compute the value in the background, unless it is known or being computed."""
        with self._changed:
            if not self._is_fresh() and not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="background-value", daemon=True).start()

    def get(self, *, deadline: float) -> T | None:
        """Return the value, or None when it is not known by the monotonic time `deadline`."""
        self.start()
        with self._changed:
            self._changed.wait_for(self._is_fresh, max(0.0, deadline - time.monotonic()))
            return self._value if self._is_fresh() else None

    def _is_fresh(self) -> bool:
        return self._computed_at is not None and time.monotonic() - self._computed_at < self.lifetime_seconds

    def _run(self) -> None:
        value: T | None = None
        try:
            value = self.compute()
        finally:
            connection.close()
            with self._changed:
                self._is_running = False
                self._value = value
                self._computed_at = time.monotonic()
                self._changed.notify_all()
