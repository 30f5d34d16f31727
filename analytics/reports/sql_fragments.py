"""SQL text that the queries over events and the queries over roll-ups share.

`event_sql` and `rollup_sql` are the only modules that query events and their sums. Their statements are
built from the names in this module and in `dimensions`; every value is a query parameter.

All statements name one site. A visitor id is valid for one day of the site, and no visit continues past
midnight, so the sums of several days are exact: a person who comes on two days counts as two daily visitors.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from django.db import connection

from analytics.errors import ReportTooSlow
from analytics.models import Kind
from analytics.reports.dimensions import DIMENSIONS, OPTIONAL_DIMENSIONS, TRAFFIC_SOURCE_COLUMNS

# Values of `analytics_day.term` that are not ids of rows in `analytics_term`.
UNKNOWN_TERM = -1
OTHER_TERM = 0
# Value of `analytics_day.dimension` that marks a day whose sums were imported. It is no dimension of reports.
IMPORTED_DIMENSION = 99

# A sample of one in 16 visitors. The index on sampled events holds only the events of these visitors.
MIN_SAMPLE_FACTOR = 16
# The number whose last bits decide whether an event is in a sample. All events of a visitor have the same
# number, so a sample holds all of them or none. The index holds events whose last four bits are zero.
SAMPLING_NUMBER = """
    coalesce(
        visitor,
        nullif(event_id, 0),
        (extract(epoch FROM created_at - '1970-01-01 00:00:00+00'::timestamptz) * 1000)::bigint
    )"""

INTERACTION_KINDS = f"{Kind.CUSTOM}, {Kind.OUTBOUND}, {Kind.DOWNLOAD}"

EVENTS_IN_RANGE = """
    SELECT *
    FROM analytics_event
    WHERE site_number = %(site)s
        AND created_at >= %(since)s
        AND created_at < %(until)s"""

# Columns of an event that describe how its visit began: from the visit, or from an event without a visit.
_VISIT_ORIGIN = ",\n            ".join(
    f"CASE WHEN origin IS NULL THEN events_in_range.{name} ELSE origin[1][{position}] END AS {name}"
    for position, name in enumerate(TRAFFIC_SOURCE_COLUMNS, 1)
)
# The events of a site in a range, each with the columns of its visit. Ranges are whole days and no visit
# crosses midnight, so every visit is complete.
_EVENTS_WITH_VISITS = f"""
    visits AS (
        SELECT
            session,
            extract(epoch FROM max(created_at) - min(created_at))::bigint AS seconds,
            count(*) FILTER (WHERE kind = {Kind.PAGEVIEW}) = 1
                AND count(*) FILTER (WHERE kind IN ({INTERACTION_KINDS})) = 0 AS bounced,
            (array_agg(page ORDER BY created_at, event_id)
                FILTER (WHERE kind = {Kind.PAGEVIEW}))[1] AS entry_page,
            (array_agg(page ORDER BY created_at DESC, event_id DESC)
                FILTER (WHERE kind = {Kind.PAGEVIEW}))[1] AS exit_page,
            array_agg(ARRAY[{", ".join(TRAFFIC_SOURCE_COLUMNS)}] ORDER BY created_at, event_id) AS origin
        FROM events_in_range
        WHERE session IS NOT NULL
        GROUP BY session
    ),
    visited_events AS (
        SELECT
            events_in_range.created_at,
            events_in_range.visitor,
            events_in_range.session,
            kind, page, name, country, region, browser, os, device, language,
            engaged, value, currency, props,
            {_VISIT_ORIGIN},
            seconds, bounced, entry_page, exit_page
        FROM events_in_range
        LEFT JOIN visits USING (session)
    )"""

WITH_ALL_EVENTS = f"""
WITH events_in_range AS NOT MATERIALIZED ({EVENTS_IN_RANGE}
    ), {_EVENTS_WITH_VISITS}"""

WITH_SAMPLED_EVENTS = f"""
WITH events_in_range AS MATERIALIZED ({EVENTS_IN_RANGE}
        AND ({SAMPLING_NUMBER} & {MIN_SAMPLE_FACTOR - 1}) = 0
        AND ({SAMPLING_NUMBER} & (%(sample_factor)s - 1)) < 1
    ), {_EVENTS_WITH_VISITS}"""

VISIT_COLUMNS = "session, visitor, bounced, seconds"

# The metrics of each key, in the order of `METRICS`, from rows as `visit_rows()` selects them.
METRIC_SUMS = """
    count(DISTINCT visitor)::int,
    count(session)::int,
    sum(pageviews)::int,
    sum(events)::int,
    count(*) FILTER (WHERE bounced)::int,
    coalesce(sum(seconds), 0)::bigint,
    coalesce(sum(engaged), 0)::bigint,
    coalesce(sum(pageviews) FILTER (WHERE session IS NOT NULL), 0)::int"""

# The counts of one visit, from its events, and from rows that hold a part of such counts.
COUNTS_FROM_EVENTS = f"""
    count(*) FILTER (WHERE kind = {Kind.PAGEVIEW}) AS pageviews,
    count(*) FILTER (WHERE kind IN ({INTERACTION_KINDS})) AS events,
    sum(engaged) AS engaged"""
COUNTS_FROM_PARTS = """
    sum(pageviews)::bigint AS pageviews,
    sum(events)::bigint AS events,
    sum(engaged)::bigint AS engaged"""

# The interval of an event. The starts of all intervals are a parameter, because PostgreSQL and Python may
# disagree on which of two midnights comes first when the clocks change.
INTERVAL_START = "(%(starts)s::timestamptz[])[width_bucket(created_at, %(starts)s::timestamptz[])]"

# The monotonic time by which the report of this thread must be ready.
_deadline: ContextVar[float | None] = ContextVar("report_deadline", default=None)


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A condition over `visited_events`, with the values of its named parameters."""

    sql: str = "true"
    parameters: dict[str, Any] = field(default_factory=dict)


@contextmanager
def report_deadline(seconds: float) -> Iterator[None]:
    """Let all statements of a report end within `seconds` together. Raises ReportTooSlow when they do not."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)


def _remaining_milliseconds(limit: int) -> int:
    """Return the timeout of the next statement: `limit`, or what is left of the report's time.

    0 means none.
    """
    deadline = _deadline.get()
    if deadline is None:
        return limit
    remaining = int(1000 * (deadline - time.monotonic()))
    if remaining <= 0:
        raise ReportTooSlow
    return min(limit, remaining) if limit else remaining


def configure_transaction(*, timeout_milliseconds: int = 0, work_mem: str = "32MB") -> None:
    """Set the planner options and the statement timeout until the end of the transaction.

    A timeout of 0 means no timeout but that of `report_deadline`. The statistics of a new monthly partition
    are empty, and the planner would choose nested loops that run for minutes instead of milliseconds;
    therefore only hash joins and sorts in memory are allowed.
    """
    options = {
        "enable_nestloop": "off",
        "jit": "off",
        "statement_timeout": str(_remaining_milliseconds(timeout_milliseconds)),
        "work_mem": work_mem,
    }
    statement = """
        SELECT set_config(name, value, true)
        FROM unnest(%s::text[], %s::text[]) AS options(name, value)"""
    with connection.cursor() as cursor:
        cursor.execute(statement, [list(options), list(options.values())])


def fetch_rows(statement: str, parameters: Sequence[Any] | dict[str, Any]) -> list[tuple[Any, ...]]:
    """Run one statement and return all of its rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def fetch_sums(statement: str, parameters: dict[str, Any]) -> dict[Any, list[int]]:
    """Run a statement whose first column is a key, and return the other columns by this key."""
    return {row[0]: list(row[1:]) for row in fetch_rows(statement, parameters)}


def visit_rows(*keys: str, condition: str = "true") -> str:
    """SQL of one row for each key and visit, and one for each key and all events that have no visit."""
    positions = ", ".join(str(position) for position in range(1, len(keys) + 1))
    return f"""
        SELECT {", ".join(keys)}, {VISIT_COLUMNS}, {COUNTS_FROM_EVENTS}
        FROM visited_events
        WHERE {condition}
        GROUP BY {positions}, {VISIT_COLUMNS}"""


def slice_key(interval: str, dimension: str, property_name: str) -> tuple[str, str]:
    """The SQL of the key that a report is grouped by, and the condition for events that have one.

    At most one of the arguments is not empty; without any the key is NULL.
    """
    key = "NULL::int"
    if interval:
        key = INTERVAL_START
    elif property_name:
        key = "(props ->> %(property)s)"
    elif dimension:
        key = DIMENSIONS[dimension].column
    return key, f"({key} IS NOT NULL OR {dimension not in OPTIONAL_DIMENSIONS})"
