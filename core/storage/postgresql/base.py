"""The database backend of the platform: Django's for PostgreSQL, with a circuit breaker in web processes.

After a failure to connect, requests fail at once for `PAUSE_SECONDS`. Then one request tries again, while the
others still fail at once, so that a database that is down or frozen never holds all threads of a process.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import connection
from django.db.backends.postgresql import base

from core.storage.circuit_breaker import CircuitBreaker
from core.storage.postgresql.deadlines import WebConnection

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
            new_connection = super().get_new_connection(conn_params)
        except psycopg.Error:
            breaker.open()
            raise
        breaker.close()
        return new_connection


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
