"""From the streams into PostgreSQL, each event once: the cursor moves in the transaction that writes what was
read before it.

Whatever is killed, whenever: before the commit nothing was written and the same entries are read again; after
it they lie behind the cursor.
"""

import gc
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.db import DataError, connection, transaction
from django.utils import timezone
from redis import Redis

from analytics.ingest import stream, string_dictionary
from analytics.ingest.settings_cache import zones_of
from analytics.ingest.stream import Event
from analytics.ingest.string_dictionary import Key
from analytics.models import Cursor, Term
from analytics.partitions import event_partitions
from analytics.reports.time_zones import local_day
from core.storage import redis

BATCH = 5_000
TAIL = timedelta(minutes=10)  # stays in Redis after it was written: a standby that takes over may be behind
Sort = Term.Sort
COLUMNS = (
    "created_at, event_id, visitor, session, site_number, kind, page, name, referrer, source, utm_source, utm_medium, utm_campaign, "
    "utm_content, utm_term, country, region, browser, os, device, language, engaged, value, currency, props"
)
# Where the texts of a packed event stand, and of which sort they are; in the order of COLUMNS.
TEXTS = (
    (2, Sort.PAGE),
    (5, Sort.EVENT),
    (7, Sort.REFERRER),
    (8, Sort.SOURCE),
    (9, Sort.UTM_SOURCE),
    (10, Sort.UTM_MEDIUM),
    (11, Sort.UTM_CAMPAIGN),
    (12, Sort.UTM_CONTENT),
    (13, Sort.UTM_TERM),
    (14, Sort.COUNTRY),
    (15, Sort.REGION),
    (16, Sort.BROWSER),
    (17, Sort.OS),
    (18, Sort.DEVICE),
    (19, Sort.LANGUAGE),
)
ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
COPY = f"COPY analytics_event ({COLUMNS}) FROM STDIN"
NULL = "\\N"
NOTHING_MORE = "\\N\t\\N\t\\N\t\\N\n"
PART = 500  # lines that are sent at once
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# microseconds
DAY = 86_400_000_000
QUARTER = 900_000_000
Timed = tuple[int, int | None, list[Any]]  # microseconds since the epoch, visit, the packed event
Row = Timed | tuple[datetime, int | None, list[Any]]

log = structlog.get_logger(__name__)


def drain(shard: int) -> int:
    """Write everything that waits in a stream; return how many events.

    Returns at once while another writer has the shard. Raises RedisAway, DatabaseError.
    """
    total = 0
    while True:
        count, whole = write_batch(shard)
        total += count
        if not whole:
            return total


def write_batch(shard: int) -> tuple[int, bool]:
    """Write the next entries of a stream; how many, and whether there may be more."""
    with transaction.atomic(), _uncollected():
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
        write_each(_rows(entries))
        cursor.last_id, cursor.epoch, cursor.written = (
            entries[-1][0].decode(),
            epoch,
            cursor.written + len(entries),
        )
        cursor.save()
    _trim(shard, cursor.last_id)
    return len(entries), len(entries) == BATCH


@contextmanager
def _uncollected() -> Iterator[None]:
    """A batch makes a hundred thousand objects and no cycle: looking for those again and again takes a third
    of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read(shard: int, cursor: Cursor) -> tuple[str, list[tuple[bytes, dict[bytes, bytes]]]]:
    """Which life of Redis this is, and what comes after the cursor.

    An emptied Redis begins from the beginning.
    """
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


def _rows(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> list[Timed]:
    """What came within the same millisecond stays in order, by microseconds: the steps of a funnel have one."""
    events = json.loads(b"[%s]" % b",".join(fields[b"e"] for _, fields in entries))
    rows: list[Timed] = []
    for (entry_id, fields), packed in zip(entries, events, strict=True):
        if packed[4] is None:
            milliseconds, _, place = entry_id.partition(b"-")
            at = int(milliseconds) * 1000 + min(int(place), 999)
        else:
            at = packed[4] * 1000
        visit = fields[b"v"]
        rows.append((at, int(visit) if visit else None, packed))
    return rows


def write_now(events: list[Event]) -> None:
    """Write without a stream, while Redis is away.

    A visit is then whoever comes within the same half hour.
    """
    now = timezone.now()
    rows: list[Row] = []
    for event in events:
        visit = None if event.visitor is None else event.visitor ^ int(now.timestamp() // 1800)
        rows.append((event.at or now, visit, json.loads(event.packed())))
    with transaction.atomic():
        write(rows)


def write_each(rows: Sequence[Row]) -> int:
    """Write all that can be written; return how many could not.

    One that the database refuses must not hold up those behind it.
    """
    try:
        with transaction.atomic():
            write(rows)
    except (DataError, ValueError) as error:
        if len(rows) == 1:
            log.error("event_unwritable", site=rows[0][2][0], error=type(error).__name__)
            return 1
        middle = len(rows) // 2
        return write_each(rows[:middle]) + write_each(rows[middle:])
    return 0


def write(rows: Sequence[Row]) -> None:
    """COPY events, and mark their sites' days to be counted anew. In the caller's transaction."""
    timed = [(at if isinstance(at, int) else _micros(at), visit, packed) for at, visit, packed in rows]
    event_partitions.create_missing(
        {EPOCH + timedelta(days=day) for day in {at // DAY for at, _, _ in timed}}
    )
    with connection.cursor() as cursor:
        later = _copy(cursor, timed)
        if later:
            wanted: set[Key] = {
                (packed[0], sort, packed[place])
                for _, _, packed in later
                for place, sort in TEXTS
                if packed[place]
            }
            numbers = string_dictionary.resolve(wanted, today=timezone.localdate())
            with cursor.copy(COPY) as copy:
                copy.write("".join(_line(row, numbers) for row in later))
        slots = {
            (packed[0], at // QUARTER) for at, _, packed in timed
        }  # no time zone's midnight is within one
        zones = zones_of({site for site, _ in slots})
        dirty = {
            (site, local_day(EPOCH + slot * timedelta(minutes=15), zones.get(site, "UTC")))
            for site, slot in slots
        }
        cursor.execute(
            "INSERT INTO analytics_dirty SELECT * FROM unnest(%s::int[], %s::date[])",
            [list(column) for column in zip(*sorted(dirty), strict=True)],
        )


def _copy(cursor: Any, rows: list[Timed]) -> list[Timed]:
    """Send what has only texts that this process knows, a part at a time, so that the database reads while we
    write; return the others.
    """
    later = []
    lines = []
    seconds = {}
    with cursor.copy(COPY) as copy:
        for row in rows:
            at, visit, packed = row
            second = at // 1_000_000
            if second not in seconds:
                seconds[second] = f"{EPOCH + timedelta(seconds=second):%Y-%m-%d %H:%M:%S}"
            try:
                book = string_dictionary.book_of(packed[0])
                texts = "\t".join([book[sort][packed[place]] for place, sort in TEXTS])
            except KeyError:
                later.append(row)
                continue
            lines.append(_joined(f"{seconds[second]}.{at % 1_000_000:06d}+00", visit, packed, texts))
            if len(lines) == PART:
                copy.write("".join(lines))
                lines.clear()
        copy.write("".join(lines))
    return later


def _line(row: Timed, numbers: dict[Key, int]) -> str:
    at, visit, packed = row
    texts = [str(numbers[packed[0], sort, packed[place]]) if packed[place] else NULL for place, sort in TEXTS]
    return _joined((EPOCH + timedelta(microseconds=at)).isoformat(), visit, packed, "\t".join(texts))


def _joined(at: str, visit: int | None, packed: list[Any], texts: str) -> str:
    """One line in the order of COLUMNS, in PostgreSQL's text format."""
    visitor = NULL if packed[6] is None else packed[6]
    visited = NULL if visit is None else visit
    engaged, value, currency, props = packed[20:24]
    if engaged is None and value is None and not props:
        rest = NOTHING_MORE
    else:
        told = json.dumps(props, ensure_ascii=False).translate(ESCAPES) if props else NULL
        rest = (
            "\t".join([NULL if one is None else str(one) for one in (engaged, value, currency)])
            + f"\t{told}\n"
        )
    return f"{at}\t{packed[3]}\t{visitor}\t{visited}\t{packed[0]}\t{packed[1]}\t{texts}\t{rest}"


def _micros(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def _trim(shard: int, last_id: str) -> None:
    """Forget what was written long enough ago. Losing this call is harmless."""
    oldest = f"{int((timezone.now() - TAIL).timestamp() * 1000)}-0"
    keep_from = min(oldest, last_id, key=lambda text: tuple(map(int, text.split("-"))))
    try:
        redis.call(lambda client: client.xtrim(stream.name_of(shard), minid=keep_from, approximate=False))
    except redis.RedisUnavailable:
        log.warning("stream_not_trimmed", shard=shard)
