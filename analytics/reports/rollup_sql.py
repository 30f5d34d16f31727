"""Queries over roll-ups: the stored sums of days and hours, and the list of days whose sums are outdated.

`event_sql` holds the queries over events, `sql_fragments` the SQL that both share.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any

from django.db import connection

from analytics.reports.dimensions import DIMENSIONS, METRICS, OPTIONAL_DIMENSIONS
from analytics.reports.sql_fragments import (
    COUNTS_FROM_EVENTS,
    COUNTS_FROM_PARTS,
    IMPORTED_DIMENSION,
    INTERVAL_START,
    METRIC_SUMS,
    OTHER_TERM,
    UNKNOWN_TERM,
    VISIT_COLUMNS,
    WITH_ALL_EVENTS,
    configure_transaction,
    fetch_rows,
    fetch_sums,
    visit_rows,
)
from analytics.time_zones import DateRange, day_bounds, interval_starts

MAX_TERMS_PER_DIMENSION = 1_000  # of one day; the remaining terms are summed up as `OTHER_TERM`

# Dimensions in which the events of one visit differ.
DIMENSIONS_PER_EVENT = ("page", "event")
# Dimensions in which the events of one visit are mostly equal: they are grouped by visit before they are
# split by dimension, which is much less work than splitting every event.
DIMENSIONS_PER_VISIT = [name for name in DIMENSIONS if name not in DIMENSIONS_PER_EVENT]


def rebuild_day(site_number: int, day: date, zone: str) -> None:
    """Replace the roll-ups of one local day by sums over its events.

    Runs in the caller's transaction. The same events give the same rows.
    """
    date_range = DateRange(site_number, zone, day, day)
    parameters = {
        **date_range.parameters,
        "starts": interval_starts(date_range, "hour"),
        "day": day,
        "max_terms": MAX_TERMS_PER_DIMENSION,
    }
    configure_transaction(work_mem="64MB")
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM analytics_day WHERE site_number = %(site)s AND day = %(day)s",
            parameters,
        )
        cursor.execute(
            """
            DELETE FROM analytics_hour
            WHERE site_number = %(site)s
                AND hour >= %(since)s
                AND hour < %(until)s""",
            parameters,
        )
        cursor.execute(_insert_hours(), parameters)
        cursor.execute(_insert_day(), parameters)


def _insert_hours() -> str:
    return f"""
        INSERT INTO analytics_hour (site_number, hour, {", ".join(METRICS)})
        {WITH_ALL_EVENTS},
        parts AS ({visit_rows(f"{INTERVAL_START} AS hour")})
        SELECT %(site)s, hour, {METRIC_SUMS}
        FROM parts
        GROUP BY hour"""


def _insert_day() -> str:
    # Every event has a device, if only an unknown one, so the sum over all devices is the whole day.
    device = DIMENSIONS["device"].number
    visit_columns = [DIMENSIONS[name].column for name in DIMENSIONS_PER_VISIT]
    return f"""
        INSERT INTO analytics_day (site_number, day, dimension, term, {", ".join(METRICS)})
        {WITH_ALL_EVENTS},
        visit_parts AS ({visit_rows(*visit_columns)}),
        term_parts AS MATERIALIZED (
            {_split_by_dimension("visit_parts", DIMENSIONS_PER_VISIT, COUNTS_FROM_PARTS)}
            UNION ALL
            {_split_by_dimension("visited_events", DIMENSIONS_PER_EVENT, COUNTS_FROM_EVENTS)}
        ),
        ranked AS (
            SELECT
                dimension,
                term,
                row_number() OVER (
                    PARTITION BY dimension
                    ORDER BY sum(pageviews + events) DESC, term
                ) AS rank
            FROM term_parts
            GROUP BY dimension, term
        ),
        parts AS (
            SELECT dimension, term, {VISIT_COLUMNS}, pageviews, events, engaged
            FROM term_parts
            JOIN ranked USING (dimension, term)
            WHERE rank <= %(max_terms)s
            UNION ALL
            SELECT dimension, {OTHER_TERM}, {VISIT_COLUMNS}, sum(pageviews), sum(events), sum(engaged)
            FROM term_parts
            JOIN ranked USING (dimension, term)
            WHERE rank > %(max_terms)s
            GROUP BY dimension, {VISIT_COLUMNS}
            UNION ALL
            SELECT 0, {OTHER_TERM}, {VISIT_COLUMNS}, sum(pageviews), sum(events), sum(engaged)
            FROM term_parts
            WHERE dimension = {device}
            GROUP BY {VISIT_COLUMNS}
        )
        SELECT %(site)s, %(day)s, dimension, term, {METRIC_SUMS}
        FROM parts
        GROUP BY dimension, term"""


def _split_by_dimension(source: str, dimensions: Sequence[str], counts: str) -> str:
    """SQL of one row for each dimension, term and visit of a source, with its counts."""
    terms = ", ".join(f"({DIMENSIONS[name].number}, {DIMENSIONS[name].column})" for name in dimensions)
    optional = ", ".join(str(DIMENSIONS[name].number) for name in dimensions if name in OPTIONAL_DIMENSIONS)
    return f"""
            SELECT dimension, coalesce(term, {UNKNOWN_TERM}) AS term, {VISIT_COLUMNS}, {counts}
            FROM {source}, LATERAL (VALUES {terms}) AS slice (dimension, term)
            WHERE term IS NOT NULL OR dimension NOT IN ({optional})
            GROUP BY 1, 2, {VISIT_COLUMNS}"""


def sum_days(
    date_range: DateRange, days: Sequence[date], *, interval: str = "", dimension: str = ""
) -> dict[Any, list[int]]:
    """The same sums as `event_sql.sum_events()` without a condition, from the roll-ups of these days.

    `interval` is empty, day, week or month; its keys are dates. The key `OTHER_TERM` of a dimension holds the
    sums of the terms that the roll-ups do not name.
    """
    key = {
        "": "NULL::int",
        "day": "day",
        "week": "date_trunc('week', day)::date",
        "month": "date_trunc('month', day)::date",
    }[interval]
    number = DIMENSIONS[dimension].number if dimension else 0
    if dimension:
        key = f"nullif(term, {UNKNOWN_TERM})"
    statement = f"""
        SELECT {key} AS slice, {", ".join(f"sum({name})::bigint" for name in METRICS)}
        FROM analytics_day
        WHERE site_number = %(site)s
            AND dimension = %(dimension)s
            AND day = ANY(%(days)s)
        GROUP BY slice"""
    return fetch_sums(statement, {"site": date_range.site_number, "dimension": number, "days": list(days)})


def sum_hours(date_range: DateRange, days: Sequence[date]) -> dict[Any, list[int]]:
    """The metrics of each hour, by its first instant, from the roll-ups of these days."""
    since, until = day_bounds(min(days), max(days), date_range.zone)
    statement = f"""
        SELECT hour, {", ".join(METRICS)}
        FROM analytics_hour
        WHERE site_number = %(site)s
            AND hour >= %(since)s
            AND hour < %(until)s"""
    sums_by_hour = fetch_sums(statement, {"site": date_range.site_number, "since": since, "until": until})
    bounds = [day_bounds(day, day, date_range.zone) for day in days]
    return {
        hour: sums
        for hour, sums in sums_by_hour.items()
        if any(since <= hour < until for since, until in bounds)
    }


def list_imported_days(site_number: int) -> set[date]:
    """Days whose sums were imported. They have no events, and their roll-ups are never rebuilt."""
    statement = "SELECT day FROM analytics_day WHERE site_number = %s AND dimension = %s"
    return {day for (day,) in fetch_rows(statement, [site_number, IMPORTED_DIMENSION])}


def replace_imported_days(site_number: int, rows: Sequence[tuple[date, int, int, Sequence[int]]]) -> None:
    """Replace all sums of the days in `rows` by imported ones, in the caller's transaction.

    A row is (day, number of the dimension, term, values in the order of `METRICS`).
    """
    days = sorted({row[0] for row in rows})
    columns = f"site_number, day, dimension, term, {', '.join(METRICS)}"
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM analytics_day WHERE site_number = %s AND day = ANY(%s)", [site_number, days]
        )
        with cursor.copy(f"COPY analytics_day ({columns}) FROM STDIN") as copy:
            for day, dimension, term, values in rows:
                copy.write_row([site_number, day, dimension, term, *values])
            for day in days:
                copy.write_row([site_number, day, IMPORTED_DIMENSION, OTHER_TERM, *[0] * len(METRICS)])


def list_days_with_events(site_number: int, days: set[date], zone: str) -> set[date]:
    """Those of the given days that have events, or sums of events that were deleted since."""
    if not days:
        return set()
    date_range = DateRange(site_number, zone, min(days), max(days))
    statement = """
        SELECT DISTINCT (created_at AT TIME ZONE %(zone)s)::date
        FROM analytics_event
        WHERE site_number = %(site)s
            AND created_at >= %(since)s
            AND created_at < %(until)s
        UNION
        SELECT day
        FROM analytics_day
        WHERE site_number = %(site)s
            AND dimension = 0
            AND day NOT IN (
                SELECT day
                FROM analytics_day
                WHERE site_number = %(site)s AND dimension = %(imported)s
            )"""
    rows = fetch_rows(statement, {**date_range.parameters, "imported": IMPORTED_DIMENSION})
    return {day for (day,) in rows} & days


def list_dirty_days(date_range: DateRange) -> list[date]:
    """Days of a range whose roll-ups are older than their events, in order."""
    statement = """
        SELECT DISTINCT day
        FROM analytics_dirty dirty
        WHERE site_number = %s
            AND day BETWEEN %s AND %s
            AND NOT EXISTS (
                SELECT
                FROM analytics_day imported
                WHERE imported.site_number = dirty.site_number
                    AND imported.day = dirty.day
                    AND imported.dimension = %s
            )
        ORDER BY day"""
    parameters = [date_range.site_number, date_range.first, date_range.last, IMPORTED_DIMENSION]
    return [day for (day,) in fetch_rows(statement, parameters)]


def list_oldest_dirty_days(limit: int) -> list[tuple[int, date]]:
    """Site numbers and days whose roll-ups are outdated; those that have waited longest come first."""
    statement = """
        SELECT site_number, day
        FROM analytics_dirty
        GROUP BY site_number, day
        ORDER BY min(ctid)
        LIMIT %s"""
    return [(site_number, day) for site_number, day in fetch_rows(statement, [limit])]


def clear_dirty_day(site_number: int, day: date) -> bool:
    """Remove the mark that a day is outdated. Returns False when another worker removed it first.

    A mark that is written after this statement stays.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_dirty WHERE site_number = %s AND day = %s", [site_number, day])
        return bool(cursor.rowcount)
