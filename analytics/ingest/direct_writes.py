"""Writes events to PostgreSQL without their stream, each exactly once.

It is used while Redis is unavailable, and for events that Redis has lost. A Redis that was frozen may still
append an event to its stream after the event was written here. So the ids of these events are stored, and the
writer of the stream skips them. The lock of the stream's cursor keeps both from looking at the same moment.
"""

import json
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone

from analytics.ingest import writer
from analytics.ingest.stream import Event
from analytics.models import Cursor, DirectEvent, EventKey

VISIT_SECONDS = 1800
CLOCK_TOLERANCE = timedelta(minutes=5)  # between Redis, which dates the entries of streams, and a web process


def write_events(events: list[Event]) -> None:
    """Write the events that are not in the database yet. Raises DatabaseError.

    A visit is made of the events of a visitor within the same half hour of the clock.
    """
    if not events:
        return
    now = timezone.now()
    shards = sorted({event.shard for event in events})
    with transaction.atomic():
        Cursor.objects.bulk_create([Cursor(shard=shard) for shard in shards], ignore_conflicts=True)
        list(Cursor.objects.select_for_update().filter(shard__in=shards).order_by("shard"))
        written = _find_written_events(events, now=now)
        new = [event for event in events if (event.site_number, event.id) not in written]
        if not new:
            return
        writer.write_valid_rows(
            [(event.at or now, _visit_of(event, now), json.loads(event.to_json())) for event in new]
        )
        DirectEvent.objects.bulk_create(
            [DirectEvent(site_number=event.site_number, event_id=event.id) for event in new]
        )


def _visit_of(event: Event, now: datetime) -> int | None:
    at = event.at or now
    return None if event.visitor is None else event.visitor ^ int(at.timestamp() // VISIT_SECONDS)


def _find_written_events(events: list[Event], *, now: datetime) -> set[EventKey]:
    """Return those of the events that were written already, directly or from a stream."""
    keys = {(event.site_number, event.id) for event in events}
    oldest = min(event.at or now for event in events) - CLOCK_TOLERANCE
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT site_number, event_id FROM analytics_event "
            "WHERE created_at >= %s AND site_number = ANY(%s) AND event_id = ANY(%s)",
            [oldest, [site_number for site_number, _ in keys], [event_id for _, event_id in keys]],
        )
        stored = set(cursor.fetchall())
    return (stored & keys) | DirectEvent.objects.find(keys)
