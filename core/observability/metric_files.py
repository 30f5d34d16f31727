"""Metric files that cannot end a process: their disk blocks are reserved before they are written.

`prometheus_client` maps sparse files into memory. When the file system is full, writing to such a page ends
the process with SIGBUS. Here a value whose space cannot be reserved is counted in the memory of the process
only.
"""

import mmap
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import _INITIAL_MMAP_SIZE, MmapedDict

HEADER_BYTES = 8  # the number of used bytes, and padding


class ReservedMmapedDict(MmapedDict):
    """A metric file whose blocks are allocated (posix_fallocate) before they are mapped."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            if not read_mode:
                _reserve(filename, _INITIAL_MMAP_SIZE)
        except OSError:
            Path(filename).unlink(missing_ok=True)  # an empty file would break the sums over all processes
            self._use_memory(filename)
        else:
            super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _use_memory(self, filename: str) -> None:
        """Initialise an empty dict in the memory of this process, which no other process reads."""
        self._f = None  # type: ignore[assignment]
        self._fname = filename
        self._capacity = _INITIAL_MMAP_SIZE
        self._m = mmap.mmap(-1, _INITIAL_MMAP_SIZE)
        self._positions = {}
        self._used = HEADER_BYTES
        self._m[:4] = struct.pack("i", HEADER_BYTES)

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + 32  # length, padding, value and timestamp
        if needed > self._capacity:
            if self._f is None:
                raise OSError("no file to grow")
            _reserve(f"/proc/self/fd/{self._f.fileno()}", 2 * self._capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def read_value(self, key: str) -> Any:
        try:
            return super().read_value(key)  # type: ignore[no-untyped-call]
        except OSError:
            return 0.0, 0.0

    def write_value(self, key: str, value: float, timestamp: float) -> None:
        with suppress(OSError):
            super().write_value(key, value, timestamp)  # type: ignore[no-untyped-call]


def _reserve(path: str, size: int) -> None:
    """Allocate the first `size` bytes of a file. Raises OSError when the file system is full."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    finally:
        os.close(descriptor)


def install() -> None:
    """Make `prometheus_client` use these files. Call it before the first metric is created."""
    values.MmapedDict = ReservedMmapedDict  # type: ignore[attr-defined,misc]
