"""Ending a running backup when another session needs the table locks that it holds."""

import threading
import time
from typing import Any, Self

import psycopg

from backups import config
from backups.engine.errors import BackupError, Stopped
from core.storage.database import MIGRATION_LOCK_ID

POLL_SECONDS = 0.5
JOIN_TIMEOUT_SECONDS = 5
MAX_RUN_SECONDS = 2 * 3600  # a snapshot that is held longer keeps vacuum from removing dead rows
# True while a migration waits or runs, or while any session waits to change or drop a table. Every later
# session would queue behind it.
LOCK_IS_WANTED_QUERY = """
SELECT EXISTS (
    SELECT FROM pg_locks
    WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND (
            (locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 1)
            OR (locktype = 'relation' AND mode = 'AccessExclusiveLock' AND NOT granted)
        )
)"""


class CancellationMonitor:
    """A context manager that polls the database from a thread while a backup runs.

    Use it as `with CancellationMonitor() as monitor:` and call `monitor.should_stop()` regularly. A waiting
    or running migration ends the run, and so does a duration of two hours.
    """

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._started_monotonic = time.monotonic()
        self._error: BackupError | None = None
        self._connection: psycopg.Connection[Any] = psycopg.connect(
            config.database_dsn(), autocommit=True, application_name="backup watch"
        )
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._connection.close()
        self._thread.join(JOIN_TIMEOUT_SECONDS)

    def _poll(self) -> None:
        lock_id = [
            MIGRATION_LOCK_ID >> 32,
            MIGRATION_LOCK_ID & 0xFFFFFFFF,
        ]  # as pg_locks splits a bigint lock id
        while not self._ended.wait(POLL_SECONDS) and not self._error:
            try:
                row = self._connection.execute(LOCK_IS_WANTED_QUERY, lock_id).fetchone()
            except psycopg.Error:
                self._error = BackupError("The connection to the database was lost.")
                return
            if row and row[0]:
                self._error = Stopped(
                    "A migration or another change of tables had to go first."
                    " The last good backup is unchanged."
                )

    def should_stop(self) -> bool:
        """Return False while the run may continue.

        Raises Stopped when another session needs the locks, and BackupError after two hours or when the
        database connection is lost.
        """
        if time.monotonic() - self._started_monotonic > MAX_RUN_SECONDS:
            raise BackupError("The backup took longer than two hours.")
        if self._error:
            raise self._error
        return False
