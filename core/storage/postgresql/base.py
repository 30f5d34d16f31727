"""The database backend of the platform: Django's for PostgreSQL, with a circuit breaker in web processes.

After a failure to connect, requests fail at once for `PAUSE_SECONDS`. Then one request tries again, while the
others still fail at once, so that a database that is down or frozen never holds all threads of a process.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool

from core.storage.circuit_breaker import CircuitBreaker
from core.storage.postgresql.deadlines import POOL_SECONDS, NoAnswer, WebConnection

PAUSE_SECONDS = 1.0
# The longest attempt to get a connection: the pool's timeout, and a check that began just before its end.
ATTEMPT_SECONDS = 4.0

breaker = CircuitBreaker(PAUSE_SECONDS, trial_seconds=ATTEMPT_SECONDS)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's connection to PostgreSQL. With a pool it fails at once while the circuit breaker is open."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        if not self.settings_dict["OPTIONS"].get("pool"):
            return super().get_new_connection(conn_params)
        if not breaker.allows_attempt():
            raise psycopg.OperationalError("the database did not answer a moment ago")
        try:
            new_connection = self._get_live_connection(conn_params)
        except psycopg.Error:
            breaker.open()
            raise
        breaker.close()
        return new_connection

    def _get_live_connection(self, conn_params: dict[str, Any]) -> Any:
        """Return a connection of the pool that answers, or did a moment ago and was not closed since.

        Raises psycopg.Error.

        Connections that a restart of the server has closed are replaced at once. The check of the pool itself
        waits a second after the first of them and two after the next, which is longer than a request waits.
        """
        deadline = time.monotonic() + POOL_SECONDS
        while True:
            candidate = super().get_new_connection(conn_params)
            try:
                if not candidate.answered_a_moment_ago():
                    ConnectionPool.check_connection(candidate)
            except psycopg.Error as error:
                self.pool.putconn(candidate)
                if isinstance(error, NoAnswer) or time.monotonic() > deadline:
                    raise
            else:
                return candidate


@contextmanager
def statement_time_limit(seconds: float) -> Iterator[None]:
    """Allow the statements of this block `seconds` in place of the limit of ordinary requests.

    For routes whose statements may take longer, such as reports and the admin. Outside web processes, whose
    statements have no limit, it changes nothing.
    """
    connection.ensure_connection()
    if isinstance(connection.connection, WebConnection):
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [f"{seconds:g}s"])
        connection.connection.statement_seconds = seconds
    yield  # the pool restores the default when the connection is returned to it
