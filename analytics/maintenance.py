"""Periodic maintenance: creates partitions, deletes expired salts and events, and saves drop counters."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from analytics.ingest import visitors
from analytics.ingest.intake import DROP_COUNTERS_KEY
from analytics.models import Drop, Settings
from analytics.partitions import event_partitions
from core import tenancy
from core.storage import redis

DELETE_BATCH_ROWS = 10_000
DROP_RETENTION = timedelta(days=90)
COPIED_HOURS = 3  # the current hour and the two before it


def run_maintenance(*, now: datetime) -> None:
    """The maintenance of every minute. Raises RedisUnavailable."""
    event_partitions.create_ahead(now)
    visitors.delete_expired_salts(now=now)
    copy_drop_counters(now=now)


def copy_drop_counters(*, now: datetime) -> None:
    """Copy the drop counters of the last hours from Redis to PostgreSQL. Raises RedisUnavailable.

    Counters never decrease. The larger number is stored, so it does not matter how often they are copied.
    """
    for hours in range(COPIED_HOURS):
        hour = (now - timedelta(hours=hours)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        key = f"{DROP_COUNTERS_KEY}:{hour:%Y%m%d%H}"
        counters = redis.call(lambda client, key=key: client.hgetall(key))  # type: ignore[misc]
        if counters:
            _store_drop_counters(hour, counters)


def _store_drop_counters(hour: datetime, counters: dict[bytes, bytes]) -> None:
    """Store counts by `site number:reason`."""
    site_numbers = []
    reasons = []
    counts = []
    for field, count in counters.items():
        site_number, reason = field.decode().split(":", 1)
        site_numbers.append(site_number)
        reasons.append(reason)
        counts.append(int(count))
    statement = """
        INSERT INTO analytics_drop (site_number, hour, reason, count)
        SELECT site_number::int, %s, reason, count
        FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS counters(site_number, reason, count)
        ON CONFLICT (site_number, hour, reason)
        DO UPDATE SET count = greatest(analytics_drop.count, EXCLUDED.count)"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [hour, site_numbers, reasons, counts])


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
