"""What one run of a backup works with: its inputs and settings, its progress and its pace."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from backups.engine.encryption import Keys
from backups.engine.errors import Stopped
from backups.engine.manifest import Manifest
from backups.engine.packs import Store
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.source import Snapshot, Source

# A throttled run works at full speed after this time, because an open snapshot keeps vacuum from removing
# dead rows.
THROTTLE_SECONDS = 900
SLEEP_STEP_SECONDS = 0.25  # between two checks whether the run was cancelled


@dataclass
class BackupPlan:
    """The inputs and settings of one run, and what it has read so far."""

    source: Source
    programs: PostgresPrograms
    store: Store
    keys: Keys
    id_key: bytes
    run_id: str
    previous: Manifest | None = None
    workers: int = 2
    # The share of the time that a throttled run works, with one reader, during the first THROTTLE_SECONDS.
    # It sleeps for the rest, so that other clients of the database are served.
    pace: float = 1.0
    # Whether to sum the content hashes of changed ranges, so that a restore can be compared by content.
    # Hashing takes as long as reading the rows.
    hash_rows: bool = True
    compression: str = "zstd"  # or "gzip"
    metadata: dict[str, Any] = field(default_factory=dict)
    should_stop: Callable[[], bool] = lambda: False
    on_progress: Callable[[int, int], None] = lambda done, total: None  # numbers of ranges
    adjust_xmin: Callable[[int], int] = lambda xmin: xmin  # only for a negative control in the tests
    on_tables_read: Callable[[Snapshot], None] = lambda snapshot: (
        None
    )  # for tests; the snapshot is still open
    read_bytes: int = 0  # of row data
    started_monotonic: float = field(default_factory=time.monotonic)
    resumed_monotonic: float = 0.0  # when the last pause ended; 0 before the first

    def raise_if_stopped(self) -> None:
        """Raises Stopped when the run was cancelled."""
        if self.should_stop():
            raise Stopped("The run was cancelled. The last good backup is unchanged.")

    @property
    def is_throttled(self) -> bool:
        return self.pace < 1 and time.monotonic() - self.started_monotonic < THROTTLE_SECONDS

    def throttle(self) -> None:
        """Sleep so long that reading takes the share `pace` of the time since the last call. Raises Stopped.

        After `THROTTLE_SECONDS` the run is not throttled any more.

        The first call never sleeps: the time before it was spent waiting for locks, not working.
        """
        self.raise_if_stopped()
        sleep_seconds = 0.0
        if self.is_throttled and self.resumed_monotonic:
            sleep_seconds = (time.monotonic() - self.resumed_monotonic) * (1 / self.pace - 1)
        while sleep_seconds > 0:
            time.sleep(min(SLEEP_STEP_SECONDS, sleep_seconds))
            sleep_seconds -= SLEEP_STEP_SECONDS
            self.raise_if_stopped()
        self.resumed_monotonic = time.monotonic()
