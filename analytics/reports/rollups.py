"""Roll-ups follow events: days that changed are counted anew, whole.

Late and repeated rows are right by that, and so is a count that was killed.
"""

import structlog
from django.db import DataError, transaction

from analytics.ingest.settings_cache import zones_of
from analytics.reports import sql_store

log = structlog.get_logger(__name__)


def recount(*, limit: int = 1_000) -> int:
    """Count the days that changed; return how many. Two workers share the work."""
    done = 0
    waiting = sql_store.take_dirty(limit)
    zones = zones_of({site for site, _ in waiting})
    for site, day in waiting:
        try:
            with transaction.atomic():
                if sql_store.clean(site, day) and day not in sql_store.imported_days(site):
                    sql_store.count_day(site, day, zones.get(site, "UTC"))
                    done += 1
        except DataError as error:  # it stays to be counted, and holds up nobody else's days
            log.error("day_not_counted", site=site, day=day.isoformat(), error=type(error).__name__)
    return done
