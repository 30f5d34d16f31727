"""Periodic jobs: each time slot of a job is claimed by one of any number of beat processes."""

from datetime import datetime, timedelta

from django.db import connection


def claim_slot(job: str, *, every: timedelta, now: datetime) -> bool:
    """Whether this caller runs the periodic `job` now: one of any number of beats gets each slot of length
    `every`.
    """
    seconds = every.total_seconds()
    slot = datetime.fromtimestamp(now.timestamp() // seconds * seconds, tz=now.tzinfo)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO core_slot (job, slot) VALUES (%s, %s) "
            "ON CONFLICT (job) DO UPDATE SET slot = EXCLUDED.slot WHERE core_slot.slot < EXCLUDED.slot",
            [job, slot],
        )
        return bool(cursor.rowcount == 1)
