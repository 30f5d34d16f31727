"""The scheduler of beat: it sends a message for a task only when none is waiting.

It keeps no file: how often a task really runs is decided by its slot in PostgreSQL (`core.jobs.periodic`).
"""

from typing import Any

from celery.beat import ScheduleEntry, Scheduler

from core.jobs import queue
from core.storage import redis


class SingleMessageScheduler(Scheduler):
    """Celery's scheduler in memory. While workers are down it leaves one message for each task."""

    def apply_async(
        self, entry: ScheduleEntry, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Send the message of an entry, unless one is waiting. Raises SchedulingError."""
        try:
            must_send = queue.mark_message(entry.task)
        except redis.RedisUnavailable:
            must_send = False  # the task is due again soon
        if not must_send:
            if advance:
                self.reserve(entry)
            return None
        return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
