"""Keeping house: partitions ahead of time, salts and events that have lived long enough, counters from Redis."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from analytics.ingest import visitors
from analytics.ingest.intake import DROPS
from analytics.models import Drop, Settings
from analytics.partitions import event_partitions
from core import tenancy
from core.storage import redis

BATCH = 10_000
DROPS_KEPT = timedelta(days=90)


def run_maintenance(*, now: datetime) -> None:
    """Raises RedisAway."""
    event_partitions.create_ahead(now)
    visitors.delete_expired_salts(now=now)
    copy_drops(now=now)


def copy_drops(*, now: datetime) -> None:
    """Counters of this hour and the last two.

    They only grow, so the larger number is right however often they are copied.
    """
    for hours in range(3):
        hour = (now - timedelta(hours=hours)).astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        found = redis.call(lambda client, hour=hour: client.hgetall(f"{DROPS}:{hour:%Y%m%d%H}"))  # type: ignore[misc]
        rows = [(*name.decode().split(":", 1), int(count)) for name, count in found.items()]
        if not rows:
            continue
        numbers, reasons, counts = ([row[place] for row in rows] for place in range(3))
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO analytics_drop (site_number, hour, reason, count) SELECT site::int, %s, reason, count FROM "
                "unnest(%s::text[], %s::text[], %s::bigint[]) AS given(site, reason, count) "
                "ON CONFLICT (site_number, hour, reason) DO UPDATE SET count = greatest(analytics_drop.count, EXCLUDED.count)",
                [hour, numbers, reasons, counts],
            )


def delete_expired_events(*, now: datetime) -> int:
    """Drop months that are over for everybody, and delete what single sites keep for less; return how many
    rows that were. Sums stay.
    """
    event_partitions.drop_before(now - settings.ANALYTICS_KEEP_FOR)
    Drop.objects.filter(hour__lt=now - DROPS_KEPT).delete()
    with tenancy.context(tenancy.SYSTEM):
        chosen = list(Settings.objects.exclude(keep_days=None).values_list("site__number", "keep_days"))
    return sum(_delete(number, now - timedelta(days=days)) for number, days in chosen if days)


def _delete(number: int, before: datetime) -> int:
    """In batches, so that no lock and no transaction is long."""
    gone: int = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM analytics_event WHERE (tableoid, ctid) IN (SELECT tableoid, ctid FROM analytics_event "
                "WHERE site_number = %s AND created_at < %s LIMIT %s)",
                [number, before, BATCH],
            )
            gone += cursor.rowcount
            if cursor.rowcount < BATCH:
                return gone
