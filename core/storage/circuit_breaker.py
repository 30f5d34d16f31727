"""A circuit breaker: after a failure, callers do not wait for the same service again for a while."""

import threading
import time


class CircuitBreaker:
    """Open for `pause_seconds` after each `open()`.

    While it `is_open`, callers fail at once instead of asking. After the pause `allows_attempt()` lets one
    caller try, and refuses the others until that one has called `open()` or `close()`, or `trial_seconds`
    have passed.
    """

    def __init__(self, pause_seconds: float, *, trial_seconds: float = 0.0) -> None:
        self.pause_seconds = pause_seconds
        self.trial_seconds = trial_seconds
        self._open_until: float | None = None  # monotonic time; None while the service answers
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        return self._open_until is not None and time.monotonic() < self._open_until

    def allows_attempt(self) -> bool:
        """Return whether the caller may ask the service now. It must then call `open()` or `close()`."""
        if self._open_until is None:
            return True
        with self._lock:
            if self.is_open:
                return False
            if self._open_until is not None:
                self._open_until = time.monotonic() + self.trial_seconds
            return True

    def open(self) -> None:
        """Record a failure of the service: calls are refused for `pause_seconds`."""
        self._open_until = time.monotonic() + self.pause_seconds

    def close(self) -> None:
        """Record that the service answered: calls are allowed again."""
        self._open_until = None
