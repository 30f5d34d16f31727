"""Warnings and errors of the server as rows: a logging handler that never blocks or fails whoever logs."""

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, connection

from core.ids import uuid7
from core.observability.structured_logging import redact_text

SIZE = 1_000  # lines that may wait; more are dropped
MESSAGE = 4_000
_inside = threading.local()


class DatabaseHandler(logging.Handler):
    """Puts lines into a bounded queue; a thread of each process, started with its first line, writes them."""

    def __init__(self) -> None:
        super().__init__(level=logging.WARNING)
        self.lines: queue.Queue[tuple[Any, ...]] = queue.Queue(SIZE)
        self.dropped = 0
        self._writer: threading.Thread | None = None
        self._start = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(_inside, "writing", False):  # the writer's own troubles must not feed it
            return
        try:
            self.lines.put_nowait(_row(record))
        except queue.Full:
            self.dropped += 1
            return
        except Exception:  # noqa: BLE001 - a line that cannot be kept must not break whoever logged it
            self.dropped += 1
            return
        with self._start:
            if self._writer is None or not self._writer.is_alive():
                self._writer = threading.Thread(target=self._write, name="audit-logs", daemon=True)
                self._writer.start()

    def _write(self) -> None:
        """Write until nothing has come for a while; the next line starts another thread."""
        _inside.writing = True
        try:
            while True:
                rows = [self.lines.get(timeout=5)]
                while len(rows) < 200 and not self.lines.empty():
                    rows.append(self.lines.get_nowait())
                write(rows)
        except queue.Empty:
            return
        finally:
            connection.close()


def write(rows: list[tuple[Any, ...]]) -> None:
    """Store lines; a database that is away loses them."""
    try:
        with connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO audit_logline (id, level, logger, message, request_id, created_at) VALUES (%s, %s, %s, %s, %s, %s)",
                rows,
            )
    except DatabaseError:
        connection.close()


def _row(record: logging.LogRecord) -> tuple[Any, ...]:
    request_id = ""
    if isinstance(record.msg, dict):  # structlog's event on its way to the formatter
        fields = {name: value for name, value in record.msg.items() if not name.startswith("_")}
        request_id = str(fields.pop("request_id", ""))
        message = f"{fields.pop('event', '')} {json.dumps(fields, default=str, sort_keys=True)}"
    else:
        message = record.getMessage()
    if record.exc_info and record.exc_info[0]:
        message += f" ({record.exc_info[0].__name__})"
    moment = datetime.fromtimestamp(record.created, UTC)
    return (
        uuid7(),
        record.levelname.lower(),
        record.name[:100],
        redact_text(message)[:MESSAGE],
        request_id[:64],
        moment,
    )


def delete_expired(*, before: datetime) -> int:
    from audit.models import LogLine

    return int(LogLine.objects.filter(created_at__lt=before).delete()[0])
