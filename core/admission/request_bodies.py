"""Reading request bodies of clients that may be slow or silent, outside Django.

`wsgi.input.read(n)` returns when n bytes have arrived or the body has ended, and the server has no timeout
for it. A reverse proxy that buffers bodies is therefore required in production (docs/running.md). The limits
here keep the process answering when the proxy is missing or lets a slow body through.
"""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from core.errors import BodyIncomplete, BodyTooSlow, Unavailable
from core.http.client_address import client_address_of_environ, client_network

# How long a request waits until other bodies are read. A body that has arrived is read in less than a
# millisecond.
WAIT_SECONDS = 0.05
MAX_BODIES_PER_NETWORK = 2
# Bodies that a process reads at the same time. Those of clients that were told that they are too slow count
# until their connection ends: each of them holds a thread.
MAX_BODIES = 64
# A chunk that has not arrived after this time, plus one second for each KiB of it, is too slow.
GRACE_SECONDS = 5.0
MIN_BYTES_PER_SECOND = 1024
# The first chunk is small and each further one doubles the size, because the rate can be checked only when a
# chunk is complete. Large chunks are faster than one read of the whole body, which copies it several times.
FIRST_CHUNK_BYTES = 1024
MAX_CHUNK_BYTES = 64 * 1024


@dataclass(slots=True, eq=False)
class _Reading:
    """A body that is being read.

    A direct one is read by the thread of its request, any other one by a thread of its own. `abandoned`
    means that the request has its answer, while the thread still waits for the client.
    """

    network: str
    started: float
    direct: bool
    abandoned: bool = False


class BodyReader:
    """Reads the request bodies of one process within the limits of this module.

    At most `web_threads` - 1 requests wait for their bodies, so that one thread is always free for requests
    without a body. One of them is read directly, which costs nothing. The others are read by short-lived
    threads, so that the thread of the request can stop waiting for a client that sends too slowly.
    """

    def __init__(self, web_threads: int, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self.max_waiting_requests = max(1, web_threads - 1)
        self.allow_direct = web_threads > 1
        self.grace_seconds = grace_seconds
        self._readings: list[_Reading] = []
        self._changed = threading.Condition()

    def read_body(self, environ: Mapping[str, Any], max_bytes: int) -> bytes:
        """Return at most `max_bytes` of the request body.

        Raises Unavailable when too many bodies are being read, in the process or for the network of the
        client, BodyTooSlow, and BodyIncomplete when the client closed the connection.
        """
        content_length = environ.get("CONTENT_LENGTH") or ""
        size = min(int(content_length), max_bytes) if content_length else max_bytes
        reading = self._start_reading(client_network(client_address_of_environ(environ)))
        if reading.direct:
            try:
                body = b"".join(read_chunks(environ["wsgi.input"], size))
            finally:
                self._end_reading(reading)
        else:
            body = self._read_in_thread(reading, environ["wsgi.input"], size)
        if content_length and len(body) < size:
            raise BodyIncomplete
        return body

    def _start_reading(self, network: str) -> _Reading:
        """Wait for a free place. Raises Unavailable when no place becomes free in time."""
        deadline = time.monotonic() + WAIT_SECONDS
        with self._changed:
            while obstacles := self._find_obstacles(network):
                now = time.monotonic()
                # Without this rule a client whose first bodies never end would occupy a thread for
                # WAIT_SECONDS with each further request.
                if now >= deadline or all(now - reading.started > WAIT_SECONDS for reading in obstacles):
                    raise Unavailable
                self._changed.wait(deadline - now)
            direct = self.allow_direct and not any(reading.direct for reading in self._readings)
            reading = _Reading(network, time.monotonic(), direct)
            self._readings.append(reading)
            return reading

    def _find_obstacles(self, network: str) -> list[_Reading]:
        """Return the readings of which one must end before another one may start; empty with a free place."""
        if not self._readings:
            return []
        same_network = [reading for reading in self._readings if reading.network == network]
        if len(same_network) >= MAX_BODIES_PER_NETWORK:
            return same_network
        waiting_requests = [reading for reading in self._readings if not reading.abandoned]
        if len(waiting_requests) >= self.max_waiting_requests:
            return waiting_requests
        return self._readings if len(self._readings) >= MAX_BODIES else []

    def _end_reading(self, reading: _Reading) -> None:
        with self._changed:
            self._readings.remove(reading)
            self._changed.notify_all()

    def _read_in_thread(self, reading: _Reading, body_input: IO[bytes], size: int) -> bytes:
        """Read a body in a thread. Raises BodyTooSlow when a chunk takes too long."""
        arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

        def copy_chunks() -> None:
            try:
                for chunk in read_chunks(body_input, size):
                    arrived.put(chunk)
                    if reading.abandoned:
                        break
            finally:
                self._end_reading(reading)
                arrived.put(None)

        # A daemon thread does not delay the end of the process.
        threading.Thread(target=copy_chunks, name="request-body", daemon=True).start()
        chunks: list[bytes] = []
        for chunk_size in chunk_sizes(size):
            try:
                chunk = arrived.get(timeout=self.grace_seconds + chunk_size / MIN_BYTES_PER_SECOND)
            except queue.Empty:
                with self._changed:
                    reading.abandoned = True
                    self._changed.notify_all()
                raise BodyTooSlow from None
            if chunk is None:
                break
            chunks.append(chunk)
        return b"".join(chunks)


def chunk_sizes(size: int) -> Iterator[int]:
    """Return the sizes of the chunks in which a body of at most `size` bytes is read."""
    chunk_size = FIRST_CHUNK_BYTES
    while size > 0:
        yield min(chunk_size, size)
        size -= chunk_size
        chunk_size = min(2 * chunk_size, MAX_CHUNK_BYTES)


def read_chunks(body_input: IO[bytes], size: int) -> Iterator[bytes]:
    """Return the chunks of a body, until it ends or `size` bytes are read."""
    for chunk_size in chunk_sizes(size):
        chunk = body_input.read(chunk_size)
        yield chunk
        if len(chunk) < chunk_size:
            return
