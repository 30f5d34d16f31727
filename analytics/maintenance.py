"""Periodic maintenance: creates partitions, deletes expired salts and events, and saves drop counters."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from analytics.ingest import drop_counters, visitors
from analytics.models import DirectEvent, Drop, Settings
from analytics.partitions import event_partitions
from core import tenancy

DELETE_BATCH_ROWS = 10_000
DROP_RETENTION = timedelta(days=90)
# Much longer than a frozen Redis may take to append an event that was written directly.
DIRECT_EVENT_RETENTION = timedelta(days=1)


def run_maintenance(*, now: datetime) -> None:
    """The maintenance of every minute. Raises RedisUnavailable."""
    event_partitions.create_ahead(now)
    visitors.delete_expired_salts(now=now)
    DirectEvent.objects.filter(created_at__lt=now - DIRECT_EVENT_RETENTION).delete()
    drop_counters.copy_to_database(now=now)


def delete_expired_events(*, now: datetime) -> int:
    """Drop expired monthly partitions, and delete the events of sites with a shorter retention.

    Returns the number of deleted rows, without those of dropped partitions. Sums are kept.
    """
    event_partitions.drop_before(now - settings.ANALYTICS_KEEP_FOR)
    Drop.objects.filter(hour__lt=now - DROP_RETENTION).delete()
    with tenancy.context(tenancy.SYSTEM):
        rows = Settings.objects.exclude(keep_days=None).values_list("site__number", "keep_days")
        retention_days = list(rows)
    deleted_count = 0
    for site_number, days in retention_days:
        if days:
            deleted_count += _delete_events_before(site_number, now - timedelta(days=days))
    return deleted_count


def _delete_events_before(site_number: int, before: datetime) -> int:
    """Delete events in batches, so that no transaction and no lock takes long."""
    statement = """
        DELETE FROM analytics_event
        WHERE (tableoid, ctid) IN (
            SELECT tableoid, ctid
            FROM analytics_event
            WHERE site_number = %s AND created_at < %s
            LIMIT %s
        )"""
    deleted_count = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [site_number, before, DELETE_BATCH_ROWS])
            row_count: int = cursor.rowcount
        deleted_count += row_count
        if row_count < DELETE_BATCH_ROWS:
            return deleted_count
