"""Stores warnings and errors of the server as rows.

The logging handler never blocks the thread that logs, and never raises an exception into it.
"""

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, connection

from core.ids import uuid7
from core.observability.structured_logging import RepeatFilter, RequestPathFilter, redact_text

MAX_QUEUED_LINES = 1_000  # further lines are dropped and counted
MAX_MESSAGE_CHARACTERS = 4_000
MAX_LINES_PER_INSERT = 200
WRITER_IDLE_SECONDS = 5
INSERT_LOG_LINE = """
    INSERT INTO audit_logline (id, level, logger, message, request_id, created_at)
    VALUES (%s, %s, %s, %s, %s, %s)
"""
_thread_state = threading.local()


class DatabaseHandler(logging.Handler):
    """Puts lines into a bounded queue. One thread in each process, started on demand, writes them."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.addFilter(RequestPathFilter())
        self.addFilter(RepeatFilter())
        self.lines: queue.Queue[tuple[Any, ...]] = queue.Queue(MAX_QUEUED_LINES)
        self.dropped = 0
        self._writer: threading.Thread | None = None
        self._start_lock = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(_thread_state, "is_writer", False):  # errors of the writer must not produce more lines
            return
        try:
            self.lines.put_nowait(_row(record))
        except queue.Full:
            self.dropped += 1
            return
        except Exception:  # noqa: BLE001 - a line that cannot be formatted must not fail the caller
            self.dropped += 1
            return
        with self._start_lock:
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._write, name="audit-logs", daemon=True)
                self._writer.start()

    def _write(self) -> None:
        """Write queued lines until none has come for 5 s. The next line starts another thread."""
        _thread_state.is_writer = True
        try:
            while True:
                rows = [self.lines.get(timeout=WRITER_IDLE_SECONDS)]
                while len(rows) < MAX_LINES_PER_INSERT and not self.lines.empty():
                    rows.append(self.lines.get_nowait())
                insert_log_lines(rows)
        except queue.Empty:
            return
        finally:
            connection.close()


def insert_log_lines(rows: list[tuple[Any, ...]]) -> None:
    """Store lines. Lines are lost while the database is unavailable."""
    try:
        with connection.cursor() as cursor:
            cursor.executemany(INSERT_LOG_LINE, rows)
    except DatabaseError:
        connection.close()


def _row(record: logging.LogRecord) -> tuple[Any, ...]:
    """Return the columns of a line in the order of `INSERT_LOG_LINE`."""
    request_id = ""
    if isinstance(record.msg, dict):  # a structlog event that is not rendered yet
        fields = {name: value for name, value in record.msg.items() if not name.startswith("_")}
        request_id = str(fields.pop("request_id", ""))
        message = f"{fields.pop('event', '')} {json.dumps(fields, default=str, sort_keys=True)}"
    else:
        message = record.getMessage()
    if record.exc_info and record.exc_info[0]:
        message += f" ({record.exc_info[0].__name__})"
    return (
        uuid7(),
        record.levelname.lower(),
        record.name[:100],
        redact_text(message)[:MAX_MESSAGE_CHARACTERS],
        request_id[:64],
        datetime.fromtimestamp(record.created, UTC),
    )


def delete_log_lines(*, before: datetime) -> int:
    """Delete lines that were logged before `before`. Return how many."""
    from audit.models import LogLine

    return int(LogLine.objects.filter(created_at__lt=before).delete()[0])
