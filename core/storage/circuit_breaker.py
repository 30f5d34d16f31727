"""A circuit breaker: after a failure, callers do not wait for the same service again for a while."""

import time


class CircuitBreaker:
    """Open for `pause_seconds` after each `open()`.

    While it `is_open`, callers fail at once instead of asking.
    """

    def __init__(self, pause_seconds: float) -> None:
        self.pause_seconds = pause_seconds
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until

    def open(self) -> None:
        """Record a failure of the service: calls are refused for `pause_seconds`."""
        self._open_until = time.monotonic() + self.pause_seconds

    def close(self) -> None:
        """Record that the service answered: calls are allowed again."""
        self._open_until = 0.0
