"""While a run reads: somebody who says when it has to get out of the way."""

import threading
import time
from typing import Any, Self

import psycopg

from backups import config
from backups.engine.errors import BackupError, Stopped
from core.storage.database import MIGRATION_LOCK_ID

EVERY_SECONDS = 0.5
OLDEST_SECONDS = 2 * 3600  # a snapshot that is held longer keeps dead rows from being cleaned away
# A migration that waits or works, or anybody who waits to change or drop a table: whoever comes after them
# waits, too.
ASKED = """SELECT EXISTS (SELECT FROM pg_locks WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND (
    (locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 1)
    OR (locktype = 'relation' AND mode = 'AccessExclusiveLock' AND NOT granted)))"""


class CancellationMonitor:
    """`with Watch() as watch:` then `watch.is_over()`.

    A migration that waits or works, or two hours, end the run: its locks would hold up everybody who comes
    behind the migration.
    """

    def __enter__(self) -> Self:
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._fault: BackupError | None = None
        self._connection: psycopg.Connection[Any] = psycopg.connect(
            config.dsn(), autocommit=True, application_name="backup watch"
        )
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._connection.close()
        self._thread.join(5)

    def _look(self) -> None:
        while not self._ended.wait(EVERY_SECONDS) and not self._fault:
            try:
                row = self._connection.execute(
                    ASKED, [MIGRATION_LOCK_ID >> 32, MIGRATION_LOCK_ID & 0xFFFFFFFF]
                ).fetchone()
            except psycopg.Error:
                self._fault = BackupError("The database was lost.")
                return
            if row and row[0]:
                self._fault = Stopped(
                    "A migration, or somebody else who changes tables, had to go first. The last good run stays."
                )

    def is_over(self) -> bool:
        """Raises Stopped where others had to go first, BackupError for the rest; so never true."""
        if time.monotonic() - self._began > OLDEST_SECONDS:
            raise BackupError("It took longer than two hours.")
        if self._fault:
            raise self._fault
        return False
