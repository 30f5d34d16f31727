"""Metric files that cannot end a process: their disk blocks are reserved before they are written.

`prometheus_client` maps sparse files into memory. When the file system is full, writing to such a page ends
the process with SIGBUS. Here a value whose space cannot be reserved is counted in the memory of the process
only.
"""

import os
from contextlib import suppress
from typing import Any

from prometheus_client import values
from prometheus_client.mmap_dict import _INITIAL_MMAP_SIZE, MmapedDict


class ReservedMmapedDict(MmapedDict):
    """A metric file whose blocks are allocated (posix_fallocate) before they are mapped."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            try:
                _reserve(filename, _INITIAL_MMAP_SIZE)
            except OSError:
                # A file in anonymous memory, which no other process reads.
                filename = f"/proc/self/fd/{os.memfd_create('metrics')}"
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        needed = self._used + len(key.encode()) + 32  # length, padding, value and timestamp
        if needed > self._capacity:
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
