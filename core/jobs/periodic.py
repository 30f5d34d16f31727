"""Periodic jobs: any number of beat processes may run, and one of them claims each time slot of a job."""

from datetime import datetime, timedelta

from django.db import connection


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
