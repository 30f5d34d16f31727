"""Keeps roll-ups up to date: the sums of every day whose events changed are computed again from its events.

A whole day is always recomputed, so late events, repeated runs and interrupted runs cannot make sums wrong.
"""

import structlog
from django.db import DataError, transaction

from analytics.reports import rollup_sql
from analytics.selectors import get_time_zones

log = structlog.get_logger(__name__)


def rebuild_dirty_days(*, limit: int = 1_000) -> int:
    """Recompute up to `limit` days whose events changed; return how many were recomputed.

    Several workers may run this at once; each day is recomputed by one of them.
    """
    count = 0
    dirty_days = rollup_sql.list_oldest_dirty_days(limit)
    zones = get_time_zones({site_number for site_number, _ in dirty_days})
    for site_number, day in dirty_days:
        try:
            with transaction.atomic():
                is_claimed = rollup_sql.clear_dirty_day(site_number, day)
                if is_claimed and day not in rollup_sql.list_imported_days(site_number):
                    rollup_sql.rebuild_day(site_number, day, zones.get(site_number, "UTC"))
                    count += 1
        except DataError as error:  # the day stays dirty; the days of other sites must not wait for it
            log.error("rollup_failed", site=site_number, day=day.isoformat(), error=type(error).__name__)
    return count
