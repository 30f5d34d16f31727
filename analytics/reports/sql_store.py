"""All SQL over events: what a report asks, and what the roll-ups are made of.

Another store would have to answer these functions.

A site is always named. A visitor's id ends with the site's day and a visit does not go on past it, so sums
over days are exact: somebody who comes on two days is two daily visitors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from analytics.models import Kind, Term
from analytics.reports.dimensions import DIMENSIONS, METRICS, OF_SOME, OF_VISITS
from analytics.reports.time_zones import Span, day_bounds, starts

# terms of roll-ups that are no texts
UNKNOWN = -1
BEYOND = 0
IMPORTED = 99  # no dimension: marks a day whose sums came from elsewhere
UNCOUNTED = 5_000_000
LARGEST = 1_000  # terms of a dimension and day that a roll-up names; the rest are one

ONE_IN = 16  # visitors: the largest sample, which an index has
# What draws events, all of a visitor or none; an index has those where the last four bits are zero.
SAMPLED = "coalesce(visitor, nullif(event_id, 0), (extract(epoch FROM created_at - '1970-01-01 00:00:00+00'::timestamptz) * 1000)::bigint)"
THOSE = "SELECT * FROM analytics_event WHERE site_number = %(site)s AND created_at >= %(since)s AND created_at < %(until)s"
# The events of a site between two moments, each with what is known of its visit as a whole. Visits do not
# cross days, so whole days know all of them.
SEEN = f"""
    visits AS (
        SELECT session, extract(epoch FROM max(created_at) - min(created_at))::bigint AS lasted,
            count(*) FILTER (WHERE kind = {Kind.PAGEVIEW}) = 1 AND count(*) FILTER (WHERE kind IN ({Kind.CUSTOM}, {Kind.OUTBOUND}, {Kind.DOWNLOAD})) = 0 AS bounced,
            (array_agg(page ORDER BY created_at, event_id) FILTER (WHERE kind = {Kind.PAGEVIEW}))[1] AS entry,
            (array_agg(page ORDER BY created_at DESC, event_id DESC) FILTER (WHERE kind = {Kind.PAGEVIEW}))[1] AS leave,
            array_agg(ARRAY[{", ".join(OF_VISITS)}] ORDER BY created_at, event_id) AS came
        FROM those WHERE session IS NOT NULL GROUP BY session),
    seen AS (
        SELECT those.created_at, those.visitor, those.session, kind, page, name, country, region, browser, os, device, language, engaged, value, currency, props,
            {", ".join(f"CASE WHEN came IS NULL THEN those.{name} ELSE came[1][{place}] END AS {name}" for place, name in enumerate(OF_VISITS, 1))},
            lasted, bounced, entry, leave
        FROM those LEFT JOIN visits USING (session))"""
WHOLE = f"WITH those AS NOT MATERIALIZED ({THOSE}), {SEEN}"
SAMPLE = f"WITH those AS MATERIALIZED ({THOSE} AND ({SAMPLED} & {ONE_IN - 1}) = 0 AND ({SAMPLED} & (%(sample)s - 1)) < 1), {SEEN}"
# Of `parts`, which has one row for each key and visit: the metrics of each key.
SUMS = """count(DISTINCT visitor)::int, count(session)::int, sum(pageviews)::int, sum(events)::int,
    count(*) FILTER (WHERE bounced)::int, coalesce(sum(lasted), 0)::bigint, coalesce(sum(engaged), 0)::bigint,
    coalesce(sum(pageviews) FILTER (WHERE session IS NOT NULL), 0)::int"""


VISIT = "session, visitor, bounced, lasted"


PARTS = f"""count(*) FILTER (WHERE kind = {Kind.PAGEVIEW}) AS pageviews,
    count(*) FILTER (WHERE kind IN ({Kind.CUSTOM}, {Kind.OUTBOUND}, {Kind.DOWNLOAD})) AS events, sum(engaged) AS engaged"""
PARTS_SUMMED = (
    "sum(pageviews)::bigint AS pageviews, sum(events)::bigint AS events, sum(engaged)::bigint AS engaged"
)


def _parts(*keys: str, condition: str = "true") -> str:
    """One row for each key and visit, and one for each key and all events of no visit."""
    places = ", ".join(str(place) for place in range(1, len(keys) + 1))
    return (
        f"SELECT {', '.join(keys)}, {VISIT}, {PARTS} FROM seen WHERE {condition} GROUP BY {places}, {VISIT}"
    )


@dataclass(frozen=True, slots=True)
class Where:
    """A condition over `seen`, with its values."""

    sql: str = "true"
    values: dict[str, Any] = field(default_factory=dict)


def prepare(*, slowest: int = 0) -> None:
    """Until the end of the transaction, statements end after `slowest` milliseconds (0: never), join by hash,
    sort in memory, and are not compiled. Of a month that is new the planner knows nothing, and would take
    loops of loops: minutes in place of milliseconds.
    """
    chosen = {"enable_nestloop": "off", "jit": "off", "statement_timeout": str(slowest), "work_mem": "32MB"}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS chosen(name, value)",
            [list(chosen), list(chosen.values())],
        )


def _rows(statement: str, values: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def raw_sums(
    span: Span, *, where: Where, bucket: str = "", dimension: str = "", prop: str = ""
) -> dict[Any, list[int]]:
    """Metrics from events, those of a sample times its size, in one statement: by `bucket` (minute, hour,
    day, week, month; its first instant), by the terms of a `dimension` (None for unknown), by the texts of a
    property, or as one whole under None.
    """
    key, condition = _slices(bucket, dimension, prop)
    parts = _parts(f"{key} AS slice", condition=f"{where.sql} AND {condition}")
    statement = f"{_seen(span)}, parts AS ({parts}) SELECT slice, {SUMS} FROM parts GROUP BY slice"
    found = _sums(
        statement,
        {**span.bounds, "starts": starts(span, bucket) if bucket else [], "property": prop, **where.values},
    )
    return {key: [span.sample * value for value in sums] for key, sums in found.items()}


def _seen(span: Span) -> str:
    return WHOLE if span.sample == 1 else SAMPLE


# The interval that an event is in, by when intervals begin: PostgreSQL and Python need not agree which of two
# midnights is the first.
BUCKET = "(%(starts)s::timestamptz[])[width_bucket(created_at, %(starts)s::timestamptz[])]"


def _slices(bucket: str, dimension: str, prop: str) -> tuple[str, str]:
    """What a report is cut into, and which events have it."""
    key = "NULL::int"
    if bucket:
        key = BUCKET
    elif prop:
        key = "(props ->> %(property)s)"
    elif dimension:
        key = DIMENSIONS[dimension].column
    return key, f"({key} IS NOT NULL OR {dimension not in OF_SOME})"


def _sums(statement: str, values: dict[str, Any]) -> dict[Any, list[int]]:
    return {row[0]: list(row[1:]) for row in _rows(statement, values)}


@dataclass(slots=True)
class Conversions:
    """Who reached a goal, how often, and what that brought by currency."""

    visitors: int = 0
    count: int = 0
    revenue: dict[str, Decimal] = field(default_factory=dict)


def conversions(
    span: Span, *, where: Where, bucket: str = "", dimension: str = "", prop: str = ""
) -> dict[Any, Conversions]:
    """Conversions by slices as `raw_sums` makes them, of events that the condition is true for.

    A visitor counts once in a day.
    """
    key, condition = _slices(bucket, dimension, prop)
    statement = f"""{_seen(span)},
        reached AS (SELECT {key} AS slice, currency, visitor, count(*) AS times, sum(value) AS value FROM seen
            WHERE {where.sql} AND {condition} GROUP BY slice, currency, visitor)
        SELECT slice, NULL, count(DISTINCT visitor), sum(times)::bigint, NULL FROM reached GROUP BY slice
        UNION ALL SELECT slice, currency, NULL, NULL, sum(value) FROM reached WHERE currency IS NOT NULL GROUP BY slice, currency"""
    found: dict[Any, Conversions] = {}
    values = {
        **span.bounds,
        "starts": starts(span, bucket) if bucket else [],
        "property": prop,
        **where.values,
    }
    for slice_, currency, visitors, count, value in _rows(statement, values):
        one = found.setdefault(slice_, Conversions())
        if currency is None:
            one.visitors = span.sample * visitors
            one.count = span.sample * count
        else:
            one.revenue[currency] = span.sample * value
    return found


def funnel(span: Span, *, where: Where, steps: Sequence[Where]) -> list[int]:
    """Visitors who took each step after the one before it, within one day.

    One statement, and one pass over events.
    """
    at = [f"CASE WHEN {step.sql} THEN 1 END AS step{number}" for number, step in enumerate(steps)]
    some = " OR ".join(f"({step.sql})" for step in steps)
    taken = ["took0 AS (SELECT visitor, min(created_at) AS at FROM hits WHERE step0 = 1 GROUP BY visitor)"]
    taken += [
        f"""took{number} AS (SELECT hits.visitor, min(created_at) AS at FROM hits JOIN took{number - 1} USING (visitor)
            WHERE step{number} = 1 AND created_at > at GROUP BY hits.visitor)"""
        for number in range(1, len(steps))
    ]
    asked = ", ".join(f"(SELECT count(*) FROM took{number})" for number in range(len(steps)))
    statement = f"""{_seen(span)},
        hits AS MATERIALIZED (SELECT visitor, created_at, {", ".join(at)} FROM seen WHERE visitor IS NOT NULL AND {where.sql} AND ({some})),
        {", ".join(taken)} SELECT {asked}"""
    values = {name: value for step in steps for name, value in step.values.items()}
    (counts,) = _rows(statement, {**span.bounds, **where.values, **values})
    return [span.sample * count for count in counts]


# What a stored event is given out as, and its column.
EVENT = (
    {
        "at": "created_at",
        "kind": "kind",
        "visitor": "visitor",
        "visit": "session",
        "page": "page",
        "name": "name",
    }
    | {
        name: name
        for name in (
            "referrer",
            "source",
            *OF_VISITS[2:],
            "country",
            "region",
            "browser",
            "os",
            "device",
            "language",
            "engaged",
            "value",
            "currency",
        )
    }
    | {"properties": "props"}
)
NAMED = [name for name in EVENT if name == "name" or name in DIMENSIONS]  # those that are numbers of texts


def events(
    site: int, since: datetime, until: datetime, *, limit: int, newest_first: bool = False
) -> list[dict[str, Any]]:
    """Events of [since, until) as they are stored, in order: `limit` of them and all that came at the same
    instant as the last.
    """
    statement = f"""SELECT {", ".join(EVENT.values())} FROM analytics_event WHERE site_number = %s AND created_at >= %s AND created_at < %s
        ORDER BY created_at {"DESC" if newest_first else "ASC"} FETCH FIRST %s ROWS WITH TIES"""
    found = [dict(zip(EVENT, row, strict=True)) for row in _rows(statement, [site, since, until, limit])]
    names = names_of(list({event[name] for event in found for name in NAMED if event[name]}))
    for event in found:
        event |= {name: names.get(event[name], "") for name in NAMED}
        event |= {name: f"{event[name]:016x}" if event[name] else None for name in ("visitor", "visit")}
        event["kind"] = Kind(event["kind"]).name.lower()
    return found


def size(span: Span) -> int:
    """About how many events there are, from roll-ups; where there are none yet, up to UNCOUNTED are counted."""
    ((counted,),) = _rows(
        """WITH known AS (SELECT day, dimension, pageviews + events AS count FROM analytics_day
            WHERE site_number = %(site)s AND dimension IN (0, %(imported)s) AND day BETWEEN %(first)s AND %(last)s)
        SELECT coalesce(sum(count), 0) FROM known WHERE dimension = 0 AND day NOT IN (SELECT day FROM known WHERE dimension = %(imported)s)""",
        {"site": span.site, "first": span.first, "last": span.last, "imported": IMPORTED},
    )
    if not counted:
        ((counted,),) = _rows(
            "SELECT count(*) FROM (SELECT FROM analytics_event WHERE site_number = %s AND created_at >= %s AND created_at < %s LIMIT %s) AS found",
            [span.site, *day_bounds(span.first, span.last, span.zone), UNCOUNTED],
        )
    return int(counted)


# --- roll-ups ---

OF_EACH = ("page", "event")  # dimensions in which the events of a visit differ
OF_WHOLE = [
    name for name in DIMENSIONS if name not in OF_EACH
]  # mostly all alike, so a visit is cut by them once and not with each event


def _each(source: str, dimensions: Sequence[str], parts: str) -> str:
    """`parts` of each term of some dimensions."""
    keys = ", ".join(f"({DIMENSIONS[name].number}, {DIMENSIONS[name].column})" for name in dimensions)
    some = ", ".join(str(DIMENSIONS[name].number) for name in dimensions if name in OF_SOME)
    return f"""SELECT dimension, coalesce(term, {UNKNOWN}) AS term, {VISIT}, {parts}
        FROM {source}, LATERAL (VALUES {keys}) AS slice (dimension, term) WHERE term IS NOT NULL OR dimension NOT IN ({some}) GROUP BY 1, 2, {VISIT}"""


def count_day(site: int, day: date, zone: str) -> None:
    """Make the roll-ups of one local day anew from its events.

    In the caller's transaction; the same events give the same rows.
    """
    span = Span(site, zone, day, day)
    values = {**span.bounds, "starts": starts(span, "hour"), "day": day, "largest": LARGEST}
    columns = ", ".join(METRICS)
    hours = _parts(f"{BUCKET} AS hour")
    of_all = DIMENSIONS["device"].number  # every event has one, if only "unknown": so the whole is its sum
    prepare()
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('work_mem', '64MB', true)")
        cursor.execute("DELETE FROM analytics_day WHERE site_number = %(site)s AND day = %(day)s", values)
        cursor.execute(
            "DELETE FROM analytics_hour WHERE site_number = %(site)s AND hour >= %(since)s AND hour < %(until)s",
            values,
        )
        cursor.execute(
            f"""INSERT INTO analytics_hour (site_number, hour, {columns})
            {WHOLE}, parts AS ({hours}) SELECT %(site)s, hour, {SUMS} FROM parts GROUP BY hour""",
            values,
        )
        cursor.execute(
            f"""INSERT INTO analytics_day (site_number, day, dimension, term, {columns})
            {WHOLE},
            alike AS ({_parts(*[DIMENSIONS[name].column for name in OF_WHOLE])}),
            each AS MATERIALIZED ({_each("alike", OF_WHOLE, PARTS_SUMMED)} UNION ALL {_each("seen", OF_EACH, PARTS)}),
            ranked AS (
                SELECT dimension, term, row_number() OVER (PARTITION BY dimension ORDER BY sum(pageviews + events) DESC, term) AS rank
                FROM each GROUP BY dimension, term),
            parts AS (
                SELECT dimension, term, {VISIT}, pageviews, events, engaged FROM each JOIN ranked USING (dimension, term) WHERE rank <= %(largest)s
                UNION ALL
                SELECT dimension, {BEYOND}, {VISIT}, sum(pageviews), sum(events), sum(engaged) FROM each JOIN ranked USING (dimension, term)
                WHERE rank > %(largest)s GROUP BY dimension, {VISIT}
                UNION ALL
                SELECT 0, {BEYOND}, {VISIT}, sum(pageviews), sum(events), sum(engaged) FROM each WHERE dimension = {of_all} GROUP BY {VISIT})
            SELECT %(site)s, %(day)s, dimension, term, {SUMS} FROM parts GROUP BY dimension, term""",
            values,
        )


def rolled_sums(
    span: Span, days: Sequence[date], *, bucket: str = "", dimension: str = ""
) -> dict[Any, list[int]]:
    """The same as `raw_sums` without a condition, from the roll-ups of these days.

    Term 0 is what they do not name.
    """
    key = {
        "": "NULL::int",
        "day": "day",
        "week": "date_trunc('week', day)::date",
        "month": "date_trunc('month', day)::date",
    }[bucket]
    number = DIMENSIONS[dimension].number if dimension else 0
    if dimension:
        key = f"nullif(term, {UNKNOWN})"
    sums = ", ".join(f"sum({name})::bigint" for name in METRICS)
    return _sums(
        f"SELECT {key} AS slice, {sums} FROM analytics_day WHERE site_number = %(site)s AND dimension = %(dimension)s AND day = ANY(%(days)s) GROUP BY slice",
        {"site": span.site, "dimension": number, "days": list(days)},
    )


def rolled_hours(span: Span, days: Sequence[date]) -> dict[Any, list[int]]:
    """Metrics of each hour, from the roll-ups of these days."""
    since, until = day_bounds(min(days), max(days), span.zone)
    found = _sums(
        f"SELECT hour, {', '.join(METRICS)} FROM analytics_hour WHERE site_number = %(site)s AND hour >= %(since)s AND hour < %(until)s",
        {"site": span.site, "since": since, "until": until},
    )
    wanted = [day_bounds(day, day, span.zone) for day in days]
    return {
        hour: sums for hour, sums in found.items() if any(since <= hour < until for since, until in wanted)
    }


def imported_days(site: int) -> set[date]:
    """Days whose sums came from elsewhere. They have no events, and are not counted anew."""
    days = _rows("SELECT day FROM analytics_day WHERE site_number = %s AND dimension = %s", [site, IMPORTED])
    return {day for (day,) in days}


def put_days(site: int, rows: Sequence[tuple[date, int, int, Sequence[int]]]) -> None:
    """Sums from elsewhere in place of what there is of their days: day, dimension's number, term, values of
    METRICS. In the caller's transaction.
    """
    days = sorted({row[0] for row in rows})
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_day WHERE site_number = %s AND day = ANY(%s)", [site, days])
        columns = f"site_number, day, dimension, term, {', '.join(METRICS)}"
        with cursor.copy(f"COPY analytics_day ({columns}) FROM STDIN") as copy:
            for day, dimension, term, values in rows:
                copy.write_row([site, day, dimension, term, *values])
            for day in days:
                copy.write_row([site, day, IMPORTED, BEYOND, *[0] * len(METRICS)])


def days_with_events(site: int, days: set[date], zone: str) -> set[date]:
    """Those of some days that have events of their own, or sums of such."""
    if not days:
        return set()
    span = Span(site, zone, min(days), max(days))
    found = _rows(
        """SELECT DISTINCT (created_at AT TIME ZONE %(zone)s)::date FROM analytics_event
        WHERE site_number = %(site)s AND created_at >= %(since)s AND created_at < %(until)s
        UNION SELECT day FROM analytics_day WHERE site_number = %(site)s AND dimension = 0 AND day NOT IN
            (SELECT day FROM analytics_day WHERE site_number = %(site)s AND dimension = %(imported)s)""",
        {**span.bounds, "imported": IMPORTED},
    )
    return {day for (day,) in found} & days


def known_events(site: int, wanted: set[tuple[datetime, int]]) -> set[tuple[datetime, int]]:
    """Those of some events, by moment and id, that are there."""
    moments = [at for at, _ in wanted]
    ids = [number for _, number in wanted]
    statement = """SELECT e.created_at, e.event_id FROM unnest(%s::timestamptz[], %s::bigint[]) AS wanted(at, id)
        JOIN analytics_event e ON e.site_number = %s AND e.created_at = wanted.at AND e.event_id = wanted.id"""
    return {(at, number) for at, number in _rows(statement, [moments, ids, site])}


def dirty_days(span: Span) -> list[date]:
    """Days whose roll-ups are older than their events."""
    statement = """SELECT DISTINCT day FROM analytics_dirty d WHERE site_number = %s AND day BETWEEN %s AND %s AND NOT EXISTS (
        SELECT FROM analytics_day i WHERE i.site_number = d.site_number AND i.day = d.day AND i.dimension = %s) ORDER BY day"""
    return [day for (day,) in _rows(statement, [span.site, span.first, span.last, IMPORTED])]


def take_dirty(limit: int) -> list[tuple[int, date]]:
    """Site numbers and days to count anew, those that wait longest in the table first."""
    statement = "SELECT site_number, day FROM analytics_dirty GROUP BY 1, 2 ORDER BY min(ctid) LIMIT %s"
    return [(site, day) for site, day in _rows(statement, [limit])]


def clean(site: int, day: date) -> bool:
    """Forget that a day must be counted anew.

    What is marked after this statement stays marked. False when somebody else was faster.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_dirty WHERE site_number = %s AND day = %s", [site, day])
        return bool(cursor.rowcount)


def names_of(terms: Sequence[int]) -> dict[int, str]:
    """The texts of terms."""
    return dict(Term.objects.filter(pk__in=terms).values_list("pk", "text"))


def present(site: int, *, since: datetime) -> tuple[int, list[list[Any]]]:
    """Visitors since a moment, and the pages that most of them look at: text and visitors."""
    all_of = "SELECT count(DISTINCT visitor) FROM analytics_event WHERE site_number = %s AND created_at >= %s"
    by_page = """SELECT t.text, count(DISTINCT e.visitor) FROM analytics_event e JOIN analytics_term t ON t.id = e.page
        WHERE e.site_number = %s AND e.created_at >= %s AND e.kind = 0 GROUP BY t.text ORDER BY 2 DESC, 1 LIMIT 10"""
    ((visitors,),) = _rows(all_of, [site, since])
    return visitors, [list(row) for row in _rows(by_page, [site, since])]


def forget_site(site: int) -> dict[str, int]:
    """Delete everything of a site; what was how many."""
    gone = {}
    with connection.cursor() as cursor:
        for table in ("event", "day", "hour", "dirty", "term", "drop", "salt"):
            cursor.execute(f"DELETE FROM analytics_{table} WHERE site_number = %s", [site])
            gone[table] = cursor.rowcount
    return gone
