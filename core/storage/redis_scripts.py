"""Lua scripts in the Redis at REDIS_URL, for requests that are frequent.

A run is one round trip over an idle connection that no other thread uses meanwhile. The client of redis-py
needs two to four times the processor time: its pool asks each connection whether it is alive, and a command
passes several layers. redis-py opens the connections here too, with everything that REDIS_URL says.
"""

import hashlib
import itertools
import os
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import hiredis
import redis as redis_py
from django.conf import settings

from core.storage import redis

READ_BYTES = 65_536
UNCHECKED_SECONDS = 0.5  # a connection that was used a moment ago is used again without a look at it
_reconnections = 0
_discard_numbers = itertools.count(1)
Value = str | int | bytes
_idle: list["_Connection"] = []  # the last one that was used comes first; at most one for each thread
os.register_at_fork(after_in_child=_idle.clear)


class Script:
    """A Lua script. `text` is its source."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, keys: Sequence[Value], arguments: Sequence[Value]) -> Any:
        """Return the reply; texts are bytes. Raises RedisUnavailable."""
        return redis.guarded(self._run_many, [(keys, arguments)])[0]

    def run_many(self, calls: Sequence[tuple[Sequence[Value], Sequence[Value]]]) -> list[Any]:
        """Run the script once for each pair of keys and arguments, in one round trip, and return the replies.

        Raises RedisUnavailable; some of the runs may have happened then.
        """
        return redis.guarded(self._run_many, calls)

    def _run_many(self, calls: Sequence[tuple[Sequence[Value], Sequence[Value]]]) -> list[Any]:
        replies = _exchange([self._command("EVALSHA", self._digest, *call) for call in calls])
        for number, reply in enumerate(replies):
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith("NOSCRIPT"):
                [replies[number]] = _exchange([self._command("EVAL", self.text, *calls[number])])
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise redis_py.ResponseError(str(reply))
        return replies

    @staticmethod
    def _command(
        name: str, script: str, keys: Sequence[Value], arguments: Sequence[Value]
    ) -> tuple[Value, ...]:
        return (name, script, len(keys), *keys, *arguments)


def reconnections() -> int:
    """Return how often this process has given up a connection: Redis closed it, or did not answer in time.

    A change means that Redis may have restarted, and may have come back with older data. `connections_made()`
    of `core.storage.redis` also counts connections that are new because more threads are busy.
    """
    return _reconnections


class _Connection:
    """A connection whose socket is read and written directly."""

    def __init__(self, pool: redis_py.ConnectionPool) -> None:
        self.pool = pool
        self.used_at = time.monotonic()
        # With protocol 3 the server may send messages between the replies.
        self._connection: Any = pool.connection_class(**{**pool.connection_kwargs, "protocol": 2})
        self._connection.connect()
        self._socket: socket.socket = self._connection._sock
        self._reader = hiredis.Reader()
        if type(self._socket) is socket.socket:  # not TLS: the kernel watches the time, without a system call
            self._socket.settimeout(None)
            timeout = struct.pack("ll", *divmod(int(settings.REDIS_TIMEOUT_SECONDS * 1e6), 1_000_000))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout)

    def exchange(self, packed: bytes, reply_count: int) -> list[Any]:
        """Send commands and return their replies. Raises OSError; BlockingIOError also means a timeout."""
        self._socket.sendall(packed)
        received: list[Any] = []
        while len(received) < reply_count:
            reply = self._reader.gets()
            if reply is False:  # it is not complete yet
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("Redis closed the connection")
                self._reader.feed(data)
            else:
                received.append(reply)
        if self._reader.has_data():
            raise ConnectionError("Redis sent more than was asked for")
        return received

    def is_open(self) -> bool:
        """Return whether nothing can be read: neither the end of the connection nor anything unexpected."""
        poll = select.poll()  # unlike select(), it takes descriptors above 1,023
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        self._connection.disconnect()


def _exchange(commands: list[tuple[Value, ...]]) -> list[Any]:
    """Send commands over an idle connection, or else a new one. Raises redis_py.RedisError.

    Nothing is sent twice: Redis may have executed a command before it closed the connection.
    """
    packed = b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]
    connection = _take_idle_connection() or _Connection(redis.client().connection_pool)
    done = False
    try:
        replies = connection.exchange(packed, len(commands))
        done = True
    except (TimeoutError, BlockingIOError):
        raise redis_py.TimeoutError("Timeout reading from Redis") from None
    except (OSError, hiredis.HiredisError) as error:
        raise redis_py.ConnectionError(str(error)) from error
    finally:
        if done:
            connection.used_at = time.monotonic()
            _idle.append(connection)
        else:  # a reply of this request may still come
            _discard(connection)
    return replies


def _take_idle_connection() -> _Connection | None:
    """Return an idle connection, or None. Redis may have closed those that were idle for a while."""
    while _idle:
        try:
            connection = _idle.pop()
        except IndexError:  # another thread was faster
            return None
        if connection.pool is not redis.client().connection_pool:
            connection.close()
        elif time.monotonic() - connection.used_at < UNCHECKED_SECONDS or connection.is_open():
            return connection
        else:
            _discard(connection)
    return None


def _discard(connection: _Connection) -> None:
    global _reconnections
    _reconnections = next(_discard_numbers)
    connection.close()
