"""Roll-ups follow events: days that changed are counted anew, whole. Late and repeated rows are right by that, and so is a count that was killed."""

from django.db import transaction

from analytics import store
from analytics.profiles import zones_of


def recount(*, limit: int = 1_000) -> int:
    """Count the days that changed; return how many. Two workers share the work."""
    done = 0
    waiting = store.take_dirty(limit)
    zones = zones_of({site for site, _ in waiting})
    for site, day in waiting:
        with transaction.atomic():
            if store.clean(site, day) and day not in store.imported_days(site):
                store.count_day(site, day, zones.get(site, "UTC"))
                done += 1
    return done
