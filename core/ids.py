"""Identifiers: UUID version 7 (RFC 9562), ordered by time within a process, with 62 random bits."""

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def uuid7() -> UUID:
    """Return a new id. The ids of one process increase, even when the clock steps back.

    The first 60 bits of time are milliseconds with 12 bits of fraction (RFC 9562 section 6.2, method 3).
    """
    global _last
    ticks = time.time_ns() * 4096 // 1_000_000
    with _lock:
        _last = ticks = max(ticks, _last + 1)
    random_bits = int.from_bytes(os.urandom(8)) & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=(ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0x2 << 62 | random_bits)
