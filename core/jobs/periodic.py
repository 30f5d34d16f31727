"""Periodic tasks: beat sends their messages, and any number of beat processes may run.

`settings.PERIODIC_TASKS` says how often each task runs and in which queue. A task with a period above
`MESSAGE_SECONDS` runs in the first message of each slot of its period; the row of its slot in PostgreSQL
decides, so that neither a second beat nor a restart of beat makes it run more or less often.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import wraps
from typing import Any

from celery import shared_task
from django.conf import settings
from django.db import connection

from config.periodic_tasks import MESSAGE_SECONDS
from core.storage.database import current_time

SKIPPED = "skipped"  # the result of a task that had nothing to do in this slot

Work = Callable[[datetime], Any]


def periodic_task(**options: Any) -> Callable[[Work], Any]:
    """Declare a function of the current time of the database as a periodic task.

    `options` are those of Celery.
    """

    def declare(work: Work) -> Any:
        name = f"{work.__module__}.{work.__name__}"
        seconds = settings.PERIODIC_TASKS[name]["seconds"]

        @wraps(work)
        def run() -> str | None:
            now = current_time()
            if seconds <= MESSAGE_SECONDS:
                work(now)
                return None
            slot = claim_slot(name, every=timedelta(seconds=seconds), now=now)
            if not slot:
                return SKIPPED
            try:
                work(now)
            except BaseException:
                release_slot(name)
                raise
            return None

        return shared_task(name=name, **options)(run)

    return declare


def claim_slot(job: str, *, every: timedelta, now: datetime) -> bool:
    """Return whether this caller must run the periodic `job` now.

    Time is divided into slots of length `every`. The first caller in each slot gets True.
    """
    seconds = every.total_seconds()
    slot = datetime.fromtimestamp(now.timestamp() // seconds * seconds, tz=now.tzinfo)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO core_periodicslot (job, slot) VALUES (%s, %s) "
            "ON CONFLICT (job) DO UPDATE SET slot = EXCLUDED.slot "
            "WHERE core_periodicslot.slot < EXCLUDED.slot",
            [job, slot],
        )
        return bool(cursor.rowcount == 1)


def release_slot(job: str) -> None:
    """Let the next caller run `job` again in this slot, because it failed."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM core_periodicslot WHERE job = %s", [job])
