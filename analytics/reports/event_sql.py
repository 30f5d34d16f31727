"""Queries that read single events, and the texts of their terms.

`rollup_sql` holds the queries over stored sums, `sql_fragments` the SQL that both share.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from analytics.models import Kind, Term
from analytics.reports.dimensions import DIMENSIONS, TRAFFIC_SOURCE_COLUMNS
from analytics.reports.sql_fragments import (
    IMPORTED_DIMENSION,
    METRIC_SUMS,
    WITH_ALL_EVENTS,
    WITH_SAMPLED_EVENTS,
    SqlCondition,
    fetch_rows,
    fetch_sums,
    slice_key,
    visit_rows,
)
from analytics.time_zones import DateRange, day_bounds, interval_starts

MAX_COUNTED_EVENTS = 5_000_000
CURRENT_PAGES_LIMIT = 10

# Names of the fields of an event in answers and CSV files, and the columns that they come from.
COLUMN_BY_EVENT_FIELD = {
    "at": "created_at",
    "kind": "kind",
    "visitor": "visitor",
    "visit": "session",
    "page": "page",
    "name": "name",
    "referrer": "referrer",
    "source": "source",
    **{name: name for name in TRAFFIC_SOURCE_COLUMNS[2:]},
    "country": "country",
    "region": "region",
    "browser": "browser",
    "os": "os",
    "device": "device",
    "language": "language",
    "engaged": "engaged",
    "value": "value",
    "currency": "currency",
    "properties": "props",
}
# Fields whose column holds the id of a term.
TERM_FIELDS = [name for name in COLUMN_BY_EVENT_FIELD if name == "name" or name in DIMENSIONS]


@dataclass(slots=True)
class Conversions:
    """Daily visitors who reached a goal, how often it was reached, and the revenue by ISO 4217 currency."""

    visitors: int = 0
    count: int = 0
    revenue: dict[str, Decimal] = field(default_factory=dict)


def sum_events(
    date_range: DateRange,
    *,
    condition: SqlCondition,
    interval: str = "",
    dimension: str = "",
    property_name: str = "",
) -> dict[Any, list[int]]:
    """The sums of `METRICS` over the events that meet the condition, in one statement.

    The keys are the first instants of an `interval` (minute, hour, day, week, month), the term ids of a
    `dimension` (None for unknown), or the texts of a property. Without any of these there is one key, None.
    The sums of a sample are multiplied by its factor.
    """
    key, has_key = slice_key(interval, dimension, property_name)
    rows = visit_rows(f"{key} AS slice", condition=f"{condition.sql} AND {has_key}")
    statement = f"""
        {_with_events(date_range)},
        parts AS ({rows})
        SELECT slice, {METRIC_SUMS}
        FROM parts
        GROUP BY slice"""
    parameters = _slice_parameters(date_range, interval, property_name) | condition.parameters
    sums_by_key = fetch_sums(statement, parameters)
    return {key: [date_range.sample_factor * value for value in sums] for key, sums in sums_by_key.items()}


def count_conversions(
    date_range: DateRange,
    *,
    condition: SqlCondition,
    interval: str = "",
    dimension: str = "",
    property_name: str = "",
) -> dict[Any, Conversions]:
    """The conversions of the events that meet the condition, by the same keys as `sum_events()`.

    A visitor counts once a day.
    """
    key, has_key = slice_key(interval, dimension, property_name)
    statement = f"""
        {_with_events(date_range)},
        converted AS (
            SELECT {key} AS slice, currency, visitor, count(*) AS conversions, sum(value) AS revenue
            FROM visited_events
            WHERE {condition.sql} AND {has_key}
            GROUP BY slice, currency, visitor
        )
        SELECT slice, NULL, count(DISTINCT visitor), sum(conversions)::bigint, NULL
        FROM converted
        GROUP BY slice
        UNION ALL
        SELECT slice, currency, NULL, NULL, sum(revenue)
        FROM converted
        WHERE currency IS NOT NULL
        GROUP BY slice, currency"""
    parameters = _slice_parameters(date_range, interval, property_name) | condition.parameters
    conversions_by_key: dict[Any, Conversions] = {}
    for key_value, currency, visitors, count, revenue in fetch_rows(statement, parameters):
        conversions = conversions_by_key.setdefault(key_value, Conversions())
        if currency is None:
            conversions.visitors = date_range.sample_factor * visitors
            conversions.count = date_range.sample_factor * count
        else:
            conversions.revenue[currency] = date_range.sample_factor * revenue
    return conversions_by_key


def count_funnel_visitors(
    date_range: DateRange, *, condition: SqlCondition, steps: Sequence[SqlCondition]
) -> list[int]:
    """The number of visitors who took each step after the step before it, within one day.

    One statement that reads the events once.
    """
    flags = ", ".join(
        f"CASE WHEN {step.sql} THEN 1 END AS is_step{number}" for number, step in enumerate(steps)
    )
    any_step = " OR ".join(f"({step.sql})" for step in steps)
    counts = ", ".join(f"(SELECT count(*) FROM step{number})" for number in range(len(steps)))
    statement = f"""
        {_with_events(date_range)},
        step_events AS MATERIALIZED (
            SELECT visitor, created_at, {flags}
            FROM visited_events
            WHERE visitor IS NOT NULL
                AND {condition.sql}
                AND ({any_step})
        ),
        {", ".join(_funnel_step(number) for number in range(len(steps)))}
        SELECT {counts}"""
    parameters = date_range.parameters | condition.parameters
    for step in steps:
        parameters |= step.parameters
    (visitors,) = fetch_rows(statement, parameters)
    return [date_range.sample_factor * count for count in visitors]


def _funnel_step(number: int) -> str:
    """SQL of the first time that each visitor took a step, after the step before it."""
    if number == 0:
        return """
        step0 AS (
            SELECT visitor, min(created_at) AS at
            FROM step_events
            WHERE is_step0 = 1
            GROUP BY visitor
        )"""
    return f"""
        step{number} AS (
            SELECT step_events.visitor, min(created_at) AS at
            FROM step_events
            JOIN step{number - 1} USING (visitor)
            WHERE is_step{number} = 1 AND created_at > at
            GROUP BY step_events.visitor
        )"""


def _with_events(date_range: DateRange) -> str:
    return WITH_ALL_EVENTS if date_range.sample_factor == 1 else WITH_SAMPLED_EVENTS


def _slice_parameters(date_range: DateRange, interval: str, property_name: str) -> dict[str, Any]:
    starts = interval_starts(date_range, interval) if interval else []
    return {**date_range.parameters, "starts": starts, "property": property_name}


def list_events(
    site_number: int, since: datetime, until: datetime, *, limit: int, newest_first: bool = False
) -> list[dict[str, Any]]:
    """The stored events of [since, until) by time, as `COLUMN_BY_EVENT_FIELD` names their fields.

    Returns `limit` events and all further ones of the same instant as the last. Two queries.
    """
    statement = f"""
        SELECT {", ".join(COLUMN_BY_EVENT_FIELD.values())}
        FROM analytics_event
        WHERE site_number = %s AND created_at >= %s AND created_at < %s
        ORDER BY created_at {"DESC" if newest_first else "ASC"}
        FETCH FIRST %s ROWS WITH TIES"""
    rows = fetch_rows(statement, [site_number, since, until, limit])
    events = [dict(zip(COLUMN_BY_EVENT_FIELD, row, strict=True)) for row in rows]
    texts = get_term_texts(list({event[name] for event in events for name in TERM_FIELDS if event[name]}))
    for event in events:
        for name in TERM_FIELDS:
            event[name] = texts.get(event[name], "")
        for name in ("visitor", "visit"):
            event[name] = f"{event[name]:016x}" if event[name] else None
        event["kind"] = Kind(event["kind"]).name.lower()
        # Outside of the ORM, Django returns the text of a jsonb value.
        event["properties"] = json.loads(event["properties"]) if event["properties"] else None
    return events


def estimate_event_count(date_range: DateRange) -> int:
    """About how many events a range has, from the roll-ups of its days.

    Where there are no roll-ups yet, the events themselves are counted, up to `MAX_COUNTED_EVENTS`.
    """
    statement = """
        WITH days AS (
            SELECT day, dimension, pageviews + events AS count
            FROM analytics_day
            WHERE site_number = %(site)s
                AND dimension IN (0, %(imported)s)
                AND day BETWEEN %(first)s AND %(last)s
        )
        SELECT coalesce(sum(count), 0)
        FROM days
        WHERE dimension = 0
            AND day NOT IN (SELECT day FROM days WHERE dimension = %(imported)s)"""
    parameters = {
        "site": date_range.site_number,
        "first": date_range.first,
        "last": date_range.last,
        "imported": IMPORTED_DIMENSION,
    }
    ((count,),) = fetch_rows(statement, parameters)
    if not count:
        since, until = day_bounds(date_range.first, date_range.last, date_range.zone)
        ((count,),) = fetch_rows(
            """
            SELECT count(*)
            FROM (
                SELECT
                FROM analytics_event
                WHERE site_number = %s AND created_at >= %s AND created_at < %s
                LIMIT %s
            ) AS events""",
            [date_range.site_number, since, until, MAX_COUNTED_EVENTS],
        )
    return int(count)


def find_stored_events(site_number: int, keys: set[tuple[datetime, int]]) -> set[tuple[datetime, int]]:
    """Those of the given events, by time and event id, that are stored."""
    statement = """
        SELECT event.created_at, event.event_id
        FROM unnest(%s::timestamptz[], %s::bigint[]) AS keys(at, id)
        JOIN analytics_event event
            ON event.site_number = %s AND event.created_at = keys.at AND event.event_id = keys.id"""
    times = [at for at, _ in keys]
    ids = [event_id for _, event_id in keys]
    return {(at, event_id) for at, event_id in fetch_rows(statement, [times, ids, site_number])}


def get_term_texts(term_ids: Sequence[int]) -> dict[int, str]:
    """The texts of terms by id. One query."""
    return dict(Term.objects.filter(pk__in=term_ids).values_list("pk", "text"))


def count_current_visitors(site_number: int, *, since: datetime) -> tuple[int, list[list[Any]]]:
    """Visitors since an instant, and the ten pages with the most of them as [path, visitors]."""
    total = """
        SELECT count(DISTINCT visitor)
        FROM analytics_event
        WHERE site_number = %s AND created_at >= %s"""
    by_page = f"""
        SELECT term.text, count(DISTINCT event.visitor)
        FROM analytics_event event
        JOIN analytics_term term ON term.id = event.page
        WHERE event.site_number = %s
            AND event.created_at >= %s
            AND event.kind = {Kind.PAGEVIEW}
        GROUP BY term.text
        ORDER BY 2 DESC, 1
        LIMIT {CURRENT_PAGES_LIMIT}"""
    ((visitors,),) = fetch_rows(total, [site_number, since])
    return visitors, [list(row) for row in fetch_rows(by_page, [site_number, since])]


def delete_site_data(site_number: int) -> dict[str, int]:
    """Delete all events, sums, terms, drop counters and salts of a site; return the rows by table."""
    deleted = {}
    with connection.cursor() as cursor:
        for table in ("event", "day", "hour", "dirty", "term", "drop", "salt"):
            cursor.execute(f"DELETE FROM analytics_{table} WHERE site_number = %s", [site_number])
            deleted[table] = cursor.rowcount
    return deleted
