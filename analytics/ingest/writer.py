"""Writes events from the Redis streams to PostgreSQL, each exactly once.

The position in a stream is saved in the transaction that writes the entries before it. A process that is
killed before the commit has written nothing, and the next one reads the same entries again; after the commit
the entries lie before the saved position.

While Redis is unavailable, web processes write events directly (`direct_writes`), and the writer of the
stream skips those that Redis appended to its stream nevertheless.
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
from analytics.ingest.string_dictionary import TermKey
from analytics.models import Cursor, DirectEvent, Term
from analytics.partitions import event_partitions
from analytics.selectors import get_time_zones
from analytics.time_zones import local_day
from core.storage import redis

BATCH_ENTRIES = 5_000
# Entries stay in Redis for this time after they were written, because a PostgreSQL standby that takes over
# may lack the last transactions; the writer then reads the entries again.
STREAM_RETENTION = timedelta(minutes=10)
Sort = Term.Sort
COLUMNS = (
    "created_at, event_id, visitor, session, site_number, kind, "
    "page, name, referrer, source, utm_source, utm_medium, utm_campaign, utm_content, utm_term, "
    "country, region, browser, os, device, language, engaged, value, currency, props"
)
# Positions of the texts in an event as JSON, and their sort of term, in the order of COLUMNS.
TERM_POSITIONS = (
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
# PostgreSQL's text format of COPY.
COPY_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
COPY_EVENTS = f"COPY analytics_event ({COLUMNS}) FROM STDIN"
COPY_NULL = "\\N"
NULLS_OF_LAST_COLUMNS = "\\N\t\\N\t\\N\t\\N\n"  # engaged, value, currency, props
LINES_PER_WRITE = 500
UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY_MICROSECONDS = 86_400_000_000
QUARTER_HOUR_MICROSECONDS = 900_000_000
Packed = list[Any]  # an event as `Event.to_json()` orders it
TimedRow = tuple[int, int | None, Packed]  # microseconds since 1970, visit, event
Row = TimedRow | tuple[datetime, int | None, Packed]
StreamEntry = tuple[bytes, dict[bytes, bytes]]  # id, fields

log = structlog.get_logger(__name__)


def drain_shard(shard: int) -> int:
    """Write all entries of a stream; return how many.

    Returns at once while another writer has the shard. Raises RedisUnavailable, DatabaseError.
    """
    total = 0
    while True:
        count, has_more = write_batch(shard)
        total += count
        if not has_more:
            return total


def write_batch(shard: int) -> tuple[int, bool]:
    """Write the next entries of a stream; return how many, and whether there may be more.

    Raises RedisUnavailable, DatabaseError.
    """
    with transaction.atomic(), _garbage_collection_disabled():
        cursors = Cursor.objects.select_for_update(skip_locked=True).filter(shard=shard)
        cursor = cursors.first()
        if cursor is None:  # locked by another writer, or not yet created
            Cursor.objects.bulk_create([Cursor(shard=shard)], ignore_conflicts=True)
            cursor = cursors.first()
        if cursor is None:
            return 0, False
        epoch, entries = _read_entries(shard, cursor)
        if not entries:
            return 0, False
        write_valid_rows(_without_direct_events(_parse_entries(entries)))
        cursor.last_id = entries[-1][0].decode()
        cursor.epoch = epoch
        cursor.written += len(entries)
        cursor.save()
    _trim_stream(shard, cursor.last_id, last_number=entries[-1][1].get(b"s"))
    return len(entries), len(entries) == BATCH_ENTRIES


@contextmanager
def _garbage_collection_disabled() -> Iterator[None]:
    """Disable the cyclic garbage collector during a batch.

    A batch creates a hundred thousand objects without cycles, and searching them takes a third of the time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _read_entries(shard: int, cursor: Cursor) -> tuple[str, list[StreamEntry]]:
    """The epoch of Redis, and the entries after the saved position.

    When the epoch differs from the saved one, Redis lost its data since; then the stream is read from its
    beginning. Raises RedisUnavailable.
    """
    key = stream.stream_key(shard)

    def read_stream(client: Redis) -> tuple[str, list[Any]]:
        with client.pipeline(transaction=True) as pipe:
            pipe.hget(stream.state_key(shard), "epoch")
            pipe.xrange(key, min=f"({cursor.last_id}", count=BATCH_ENTRIES)
            epoch, entries = pipe.execute()
        epoch = (epoch or b"").decode()
        if cursor.epoch and epoch and epoch != cursor.epoch:
            entries = client.xrange(key, count=BATCH_ENTRIES)
        return epoch or cursor.epoch, entries

    return redis.call(read_stream)


def _parse_entries(entries: list[StreamEntry]) -> list[TimedRow]:
    """The rows of stream entries.

    Entries of the same millisecond get increasing microseconds, because funnels need the order of events.
    """
    events = json.loads(b"[%s]" % b",".join(fields[b"e"] for _, fields in entries))
    rows: list[TimedRow] = []
    for (entry_id, fields), packed in zip(entries, events, strict=True):
        if packed[4] is None:
            milliseconds, _, sequence = entry_id.partition(b"-")
            at = int(milliseconds) * 1000 + min(int(sequence), 999)
        else:
            at = packed[4] * 1000
        visit = fields[b"v"]
        rows.append((at, int(visit) if visit else None, packed))
    return rows


def _without_direct_events(rows: list[TimedRow]) -> list[TimedRow]:
    """Return the rows without those that were written directly while Redis was unavailable."""
    direct = DirectEvent.objects.find({(packed[0], packed[3]) for _, _, packed in rows})
    return [row for row in rows if (row[2][0], row[2][3]) not in direct] if direct else rows


def write_valid_rows(rows: Sequence[Row]) -> int:
    """Write all rows that the database accepts; return how many it refused.

    A refused row is logged, so that it does not block the rows after it.
    """
    try:
        with transaction.atomic():
            write_rows(rows)
    except (DataError, ValueError) as error:
        if len(rows) == 1:
            log.error("event_refused_by_database", site=rows[0][2][0], error=type(error).__name__)
            return 1
        middle = len(rows) // 2
        return write_valid_rows(rows[:middle]) + write_valid_rows(rows[middle:])
    return 0


def write_rows(rows: Sequence[Row]) -> None:
    """COPY events, and mark the days of their sites as dirty, in the caller's transaction.

    Raises DataError, ValueError.
    """
    timed_rows = [
        (at if isinstance(at, int) else _to_microseconds(at), visit, packed) for at, visit, packed in rows
    ]
    days = {at // DAY_MICROSECONDS for at, _, _ in timed_rows}
    event_partitions.create_missing({UNIX_EPOCH + timedelta(days=day) for day in days})
    with connection.cursor() as cursor:
        rows_with_new_terms = _copy_rows_with_cached_terms(cursor, timed_rows)
        if rows_with_new_terms:
            _copy_rows_with_new_terms(cursor, rows_with_new_terms)
        _mark_days_as_dirty(cursor, timed_rows)


def _mark_days_as_dirty(cursor: Any, rows: list[TimedRow]) -> None:
    # No midnight of any time zone lies within a quarter of an hour, so one local day for each is enough.
    quarters = {(packed[0], at // QUARTER_HOUR_MICROSECONDS) for at, _, packed in rows}
    zones = get_time_zones({site_number for site_number, _ in quarters})
    dirty_days = {
        (
            site_number,
            local_day(UNIX_EPOCH + quarter * timedelta(minutes=15), zones.get(site_number, "UTC")),
        )
        for site_number, quarter in quarters
    }
    cursor.execute(
        "INSERT INTO analytics_dirty SELECT * FROM unnest(%s::int[], %s::date[])",
        [list(column) for column in zip(*sorted(dirty_days), strict=True)],
    )


def _copy_rows_with_cached_terms(cursor: Any, rows: list[TimedRow]) -> list[TimedRow]:
    """COPY the rows whose texts all have a cached term id; return the other rows.

    Lines are sent in parts, so that the database parses them while further lines are formatted.
    """
    remaining = []
    lines = []
    formatted_seconds: dict[int, str] = {}
    with cursor.copy(COPY_EVENTS) as copy:
        for row in rows:
            at, visit, packed = row
            second = at // 1_000_000
            if second not in formatted_seconds:
                formatted_seconds[second] = f"{UNIX_EPOCH + timedelta(seconds=second):%Y-%m-%d %H:%M:%S}"
            try:
                cached = string_dictionary.get_cached_terms(packed[0])
                terms = "\t".join([cached[sort][packed[position]] for position, sort in TERM_POSITIONS])
            except KeyError:
                remaining.append(row)
                continue
            time_text = f"{formatted_seconds[second]}.{at % 1_000_000:06d}+00"
            lines.append(_format_line(time_text, visit, packed, terms))
            if len(lines) == LINES_PER_WRITE:
                copy.write("".join(lines))
                lines.clear()
        copy.write("".join(lines))
    return remaining


def _copy_rows_with_new_terms(cursor: Any, rows: list[TimedRow]) -> None:
    """Create the missing terms of some rows, and COPY the rows."""
    keys: set[TermKey] = {
        (packed[0], sort, packed[position])
        for _, _, packed in rows
        for position, sort in TERM_POSITIONS
        if packed[position]
    }
    term_ids = string_dictionary.get_or_create_term_ids(keys, today=timezone.localdate())
    lines = []
    for at, visit, packed in rows:
        terms = "\t".join(
            str(term_ids[packed[0], sort, packed[position]]) if packed[position] else COPY_NULL
            for position, sort in TERM_POSITIONS
        )
        time_text = (UNIX_EPOCH + timedelta(microseconds=at)).isoformat()
        lines.append(_format_line(time_text, visit, packed, terms))
    with cursor.copy(COPY_EVENTS) as copy:
        copy.write("".join(lines))


def _format_line(time_text: str, visit: int | None, packed: Packed, terms: str) -> str:
    """One line in the order of COLUMNS, in PostgreSQL's text format of COPY."""
    visitor_text = COPY_NULL if packed[6] is None else packed[6]
    visit_text = COPY_NULL if visit is None else visit
    engaged, value, currency, props = packed[20:24]
    if engaged is None and value is None and not props:
        last_columns = NULLS_OF_LAST_COLUMNS
    else:
        props_text = json.dumps(props, ensure_ascii=False).translate(COPY_ESCAPES) if props else COPY_NULL
        fields = [COPY_NULL if field is None else str(field) for field in (engaged, value, currency)]
        last_columns = "\t".join([*fields, props_text]) + "\n"
    return (
        f"{time_text}\t{packed[3]}\t{visitor_text}\t{visit_text}\t{packed[0]}\t{packed[1]}"
        f"\t{terms}\t{last_columns}"
    )


def _to_microseconds(at: datetime) -> int:
    return (at - UNIX_EPOCH) // timedelta(microseconds=1)


def _trim_stream(shard: int, last_id: str, *, last_number: bytes | None) -> None:
    """Publish the number of the last written event, and remove entries that were written long ago.

    A failure is logged only, because the next call does the same.
    """
    oldest_id = f"{int((timezone.now() - STREAM_RETENTION).timestamp() * 1000)}-0"
    min_id = min(oldest_id, last_id, key=lambda text: tuple(map(int, text.split("-"))))

    def update(client: Redis) -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.xtrim(stream.stream_key(shard), minid=min_id, approximate=False)
            if last_number:
                pipe.hset(stream.state_key(shard), "written", last_number)
            pipe.execute()

    try:
        redis.call(update)
    except redis.RedisUnavailable:
        log.warning("stream_not_trimmed", shard=shard)
