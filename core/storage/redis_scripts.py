"""Lua scripts in the Redis at REDIS_URL, for requests that are frequent.

A run is one round trip over an idle connection that no other thread uses meanwhile. The client of redis-py
needs two to four times the processor time: its pool asks each connection whether it is alive, and a command
passes several layers. redis-py opens the connections here too, with everything that REDIS_URL says.

A script must tolerate that it runs twice: when Redis closes a connection after a run, the run is repeated.
"""

import hashlib
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

import hiredis
import redis as redis_py
from django.conf import settings

from core.storage import redis

READ_BYTES = 65_536
_reconnections = 0
Value = str | int | float | bytes | memoryview
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
    """Return how often Redis had closed a connection that this process wanted to use again.

    A change means that Redis may have restarted, and may have come back with older data. `connections_made()`
    of `core.storage.redis` also counts connections that are new because more threads are busy.
    """
    return _reconnections


class _Connection:
    """A connection whose socket is read and written directly."""

    def __init__(self, pool: redis_py.ConnectionPool) -> None:
        self.pool = pool
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
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
            if reply is False:  # incomplete; no script replies with the RESP3 value False
                data = self._socket.recv(READ_BYTES)
                if not data:
                    raise ConnectionResetError("Redis closed the connection")
                self._reader.feed(data)
            else:
                received.append(reply)
        return received

    def close(self) -> None:
        self._connection.disconnect()


def _exchange(commands: list[tuple[Value, ...]]) -> list[Any]:
    """Send commands over an idle connection, or else a new one. Raises redis_py.RedisError.

    Redis may have closed an idle connection in the meantime, for example because it was restarted; then the
    commands are sent once more over a new one.
    """
    packed = b"".join(hiredis.pack_command(command) for command in commands)  # type: ignore[arg-type]
    global _reconnections
    pool = redis.client().connection_pool
    try:
        connection = _idle.pop()
    except IndexError:
        connection = None
    if connection and connection.pool is pool:
        try:
            return _exchange_and_keep(connection, packed, len(commands))
        except redis_py.ConnectionError:
            _reconnections += 1
    return _exchange_and_keep(_Connection(pool), packed, len(commands))


def _exchange_and_keep(connection: _Connection, packed: bytes, reply_count: int) -> list[Any]:
    """Use a connection, and keep it for the next use unless something went wrong."""
    done = False
    try:
        result = connection.exchange(packed, reply_count)
        done = True
    except (TimeoutError, BlockingIOError):
        raise redis_py.TimeoutError("Timeout reading from Redis") from None
    except OSError as error:
        raise redis_py.ConnectionError(str(error)) from error
    finally:
        if done:
            _idle.append(connection)
        else:  # a reply of this request may still come
            connection.close()
    return result
