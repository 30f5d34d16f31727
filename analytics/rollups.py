"""Roll-ups follow events: days that changed are counted anew, whole. Late and repeated rows are right by that, and so is a count that was killed."""

import structlog
from django.db import DataError, transaction

from analytics import store
from analytics.profiles import zones_of

log = structlog.get_logger(__name__)


def recount(*, limit: int = 1_000) -> int:
    """Count the days that changed; return how many. Two workers share the work."""
    done = 0
    waiting = store.take_dirty(limit)
    zones = zones_of({site for site, _ in waiting})
    for site, day in waiting:
        try:
            with transaction.atomic():
                if store.clean(site, day) and day not in store.imported_days(site):
                    store.count_day(site, day, zones.get(site, "UTC"))
                    done += 1
        except DataError as error:  # it stays to be counted, and holds up nobody else's days
            log.error("day_not_counted", site=site, day=day.isoformat(), error=type(error).__name__)
    return done
