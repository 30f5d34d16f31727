"""From the streams into PostgreSQL, each event once: the cursor moves in the transaction that writes what was read before it.

Whatever is killed, whenever: before the commit nothing was written and the same entries are read again; after it they lie behind the cursor.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import connection, transaction
from django.utils import timezone
from redis import Redis

from analytics import partitions, stream, terms
from analytics.models import Cursor, Term
from analytics.profiles import zones_of
from analytics.stream import Event
from analytics.terms import Key
from analytics.zones import local_day
from core import redis

BATCH = 5_000
TAIL = timedelta(minutes=10)  # stays in Redis after it was written: a standby that takes over may be behind
Sort = Term.Sort
COLUMNS = (
    "created_at, event_id, visitor, session, site_number, kind, page, name, referrer, source, utm_source, utm_medium, utm_campaign, "
    "utm_content, utm_term, country, region, browser, os, device, language, engaged, value, currency, props"
)
# Where the texts of a packed event stand, and of which sort they are; in the order of COLUMNS.
TEXTS = (
    (2, Sort.PAGE), (5, Sort.EVENT), (7, Sort.REFERRER), (8, Sort.SOURCE), (9, Sort.UTM_SOURCE), (10, Sort.UTM_MEDIUM), (11, Sort.UTM_CAMPAIGN),
    (12, Sort.UTM_CONTENT), (13, Sort.UTM_TERM), (14, Sort.COUNTRY), (15, Sort.REGION), (16, Sort.BROWSER), (17, Sort.OS), (18, Sort.DEVICE),
    (19, Sort.LANGUAGE),
)  # fmt: skip
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
Row = tuple[datetime, int | None, list[Any]]  # when, visit, the packed event

log = structlog.get_logger(__name__)


def drain(shard: int) -> int:
    """Write everything that waits in a stream; return how many events. Returns at once while another writer has the shard.
    Raises RedisAway, DatabaseError.
    """
    total = 0
    while True:
        count, whole = write_batch(shard)
        total += count
        if not whole:
            return total


def write_batch(shard: int) -> tuple[int, bool]:
    """Write the next entries of a stream; how many, and whether there may be more."""
    with transaction.atomic():
        rows = Cursor.objects.select_for_update(skip_locked=True).filter(shard=shard)
        cursor = rows.first()
        if cursor is None:  # another writer has it; or nobody ever had
            Cursor.objects.bulk_create([Cursor(shard=shard)], ignore_conflicts=True)
            cursor = rows.first()
        if cursor is None:
            return 0, False
        epoch, entries = _read(shard, cursor)
        if not entries:
            return 0, False
        write([_row(entry_id, fields) for entry_id, fields in entries])
        cursor.last_id, cursor.epoch, cursor.written = entries[-1][0].decode(), epoch, cursor.written + len(entries)
        cursor.save()
    _trim(shard, cursor.last_id)
    return len(entries), len(entries) == BATCH


def _read(shard: int, cursor: Cursor) -> tuple[str, list[tuple[bytes, dict[bytes, bytes]]]]:
    """Which life of Redis this is, and what comes after the cursor. An emptied Redis begins from the beginning."""
    name = stream.name_of(shard)

    def ask(client: Redis) -> tuple[str, list[Any]]:
        with client.pipeline(transaction=True) as pipe:
            pipe.get(stream.EPOCH)
            pipe.xrange(name, min=f"({cursor.last_id}", count=BATCH)
            epoch, entries = pipe.execute()
        epoch = (epoch or b"").decode()
        if cursor.epoch and epoch and epoch != cursor.epoch:
            entries = client.xrange(name, count=BATCH)
        return epoch or cursor.epoch, entries

    return redis.call(ask)


def _row(entry_id: bytes, fields: dict[bytes, bytes]) -> Row:
    packed = json.loads(fields[b"e"])
    milliseconds, _, place = entry_id.partition(b"-")
    visit = int(fields[b"v"]) if fields[b"v"] else None
    if packed[4] is not None:
        return datetime.fromtimestamp(packed[4] / 1000, tz=UTC), visit, packed
    # What came within the same millisecond stays in order: the steps of a funnel have one.
    at = datetime.fromtimestamp(int(milliseconds) / 1000, tz=UTC) + timedelta(microseconds=min(int(place), 999))
    return at, visit, packed


def write_now(events: list[Event]) -> None:
    """Write without a stream, while Redis is away. A visit is then whoever comes within the same half hour."""
    now = timezone.now()
    rows = []
    for event in events:
        visit = None if event.visitor is None else event.visitor ^ int(now.timestamp() // 1800)
        rows.append((event.at or now, visit, json.loads(event.packed())))
    with transaction.atomic():
        write(rows)


def write(rows: list[Row]) -> None:
    """COPY events, and mark their sites' days to be counted anew. In the caller's transaction."""
    partitions.ensure({created_at for created_at, _, _ in rows})
    wanted: set[Key] = {
        (packed[0], sort, packed[place]) for _, _, packed in rows for place, sort in TEXTS if packed[place]
    }
    numbers = terms.resolve(wanted, today=timezone.localdate())
    lines = [_line(created_at, visit, packed, numbers) for created_at, visit, packed in rows]
    zones = zones_of({packed[0] for _, _, packed in rows})
    dirty = {(packed[0], local_day(created_at, zones.get(packed[0], "UTC"))) for created_at, _, packed in rows}
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY analytics_event ({COLUMNS}) FROM STDIN") as copy:
            copy.write("".join(lines))
        cursor.execute(
            "INSERT INTO analytics_dirty SELECT * FROM unnest(%s::int[], %s::date[])",
            [list(column) for column in zip(*sorted(dirty), strict=True)],
        )


def _line(created_at: datetime, visit: int | None, packed: list[Any], numbers: dict[Key, int]) -> str:
    site = packed[0]
    texts = [numbers[site, sort, packed[place]] if packed[place] else None for place, sort in TEXTS]
    props = json.dumps(packed[23], ensure_ascii=False) if packed[23] else None
    values = [
        created_at.isoformat(),
        packed[3],
        packed[6],
        visit,
        site,
        packed[1],
        *texts,
        packed[20],
        packed[21],
        packed[22],
    ]
    fields = ["\\N" if value is None else str(value) for value in values]
    fields.append("\\N" if props is None else props.translate(ESCAPES))
    return "\t".join(fields) + "\n"


def _trim(shard: int, last_id: str) -> None:
    """Forget what was written long enough ago. Losing this call is harmless."""
    oldest = f"{int((timezone.now() - TAIL).timestamp() * 1000)}-0"
    keep_from = min(oldest, last_id, key=lambda text: tuple(map(int, text.split("-"))))
    try:
        redis.call(lambda client: client.xtrim(stream.name_of(shard), minid=keep_from, approximate=False))
    except redis.RedisAway:
        log.warning("stream_not_trimmed", shard=shard)
