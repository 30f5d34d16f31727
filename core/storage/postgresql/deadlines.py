"""Deadlines of the database connections of web processes.

PostgreSQL enforces its own timeouts only while it runs. A server that is frozen, or a network that drops
packets without an error, would hold a thread of a web process for minutes. So the client abandons a statement
too.
"""

import select
import time
from typing import Any

import psycopg
from psycopg.errors import _WaitTimeout

# The longest statement of an ordinary request. Routes whose statements may take longer use
# `core.storage.postgresql.base.statement_time_limit`.
WEB_STATEMENT_SECONDS = 5.0
GRACE_SECONDS = 1.0  # PostgreSQL ends a statement itself, as long as it runs
CHECK_SECONDS = 1.0
POOL_SECONDS = 2.0  # for a free connection of the pool
UNCHECKED_SECONDS = 0.5  # a connection that answered a moment ago is used without a question to the server


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time. The connection is closed."""


class WebConnection(psycopg.Connection[Any]):
    """A connection on which no statement is awaited longer than `statement_seconds` and `GRACE_SECONDS`.

    `statement_seconds` is the `statement_timeout` of this connection. The first answer after the connection
    was in the pool must come within `CHECK_SECONDS`: then the pool checks whether it is alive.
    """

    statement_seconds = WEB_STATEMENT_SECONDS
    is_checked = True
    returned_at = 0.0  # a `time.monotonic()`

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """Consume a generator of psycopg. Raises NoAnswer after the deadline."""
        if timeout is not None:  # a wait for notifications, which has its own time
            return super().wait(gen, interval, timeout)
        deadline = self.statement_seconds + GRACE_SECONDS if self.is_checked else CHECK_SECONDS
        try:
            result = super().wait(gen, interval, deadline)
        except _WaitTimeout:
            self.pgconn.finish()  # a late answer must not be read as that of the next statement
            raise NoAnswer(f"the server did not answer within {deadline:g} s") from None
        self.is_checked = True
        return result

    def answered_a_moment_ago(self) -> bool:
        """Return whether this connection was just in use, and nothing has arrived since, not even its end.

        Raises psycopg.OperationalError when it is known to be closed.
        """
        if self.is_checked or time.monotonic() - self.returned_at > UNCHECKED_SECONDS:
            return False
        poll = select.poll()
        poll.register(self.pgconn.socket, select.POLLIN)
        self.is_checked = not poll.poll(0)
        return self.is_checked


def reset_connection(connection: WebConnection) -> None:
    """Restore the default `statement_timeout`. The pool calls this when a connection is returned to it."""
    if connection.statement_seconds != WEB_STATEMENT_SECONDS:
        connection.execute("RESET statement_timeout")
        connection.commit()
        connection.statement_seconds = WEB_STATEMENT_SECONDS
    connection.is_checked = False
    connection.returned_at = time.monotonic()
