"""Computes reports on the visits of a site, for the HTTP API, CSV files, the dashboard and the weekly mail.

Whole days without a filter are read from roll-ups. Days whose events are newer than their roll-up, and
everything with a filter, are read from the events. Both are exact, and the sums of days can be added, so one
result may be made of both. When more than `SAMPLING_THRESHOLD_EVENTS` events would have to be read, only a
sample of the visitors is read; `sampled_share()` returns how large it is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil, log2
from typing import Any
from zoneinfo import ZoneInfo

from analytics.reports import event_sql, filters, rollup_sql, sql_fragments
from analytics.reports.dimensions import METRICS
from analytics.reports.event_sql import Conversions
from analytics.reports.filters import Filter
from analytics.reports.sql_fragments import SqlCondition
from analytics.time_zones import DateRange, interval_starts, start_of_day

Sums = dict[Any, list[int]]  # by key: values in the order of METRICS
INTERVALS = ("minute", "hour", "day", "week", "month")
MAX_DAYS_BY_INTERVAL = {"minute": 2, "hour": 62}
STATEMENT_TIMEOUT_MILLISECONDS = 5_000
SAMPLING_THRESHOLD_EVENTS = 1_000_000
MAX_SAMPLE_FACTOR = 256
ZERO_SUMS = [0] * len(METRICS)
NO_CONVERSIONS = Conversions()


@dataclass(frozen=True, slots=True)
class Query:
    """The date range and the filters of a report.

    `filters` select whole visits. `fixed_filters` are those of a shared link: every single event must meet
    them. With a `goal` the result has its conversions beside the metrics.
    """

    date_range: DateRange
    filters: tuple[Filter, ...] = ()
    goal: tuple[Filter, ...] = ()
    fixed_filters: tuple[Filter, ...] = ()

    @property
    def is_filtered(self) -> bool:
        """Whether roll-ups cannot answer the query, because they hold sums over all visits."""
        return bool(self.filters or self.fixed_filters)


def compute_metrics(sums: list[int]) -> dict[str, Any]:
    """Metrics from sums: ratios from 0 to 1, durations in seconds. Without visits, ratios are `None`."""
    by_name = dict(zip(METRICS, sums, strict=True))
    visits = by_name["visits"]
    views = by_name["views"]
    return {
        "visitors": by_name["visitors"],
        "visits": visits,
        "pageviews": by_name["pageviews"],
        "events": by_name["events"],
        "views_per_visit": round(views / visits, 2) if visits else None,
        "bounce_rate": round(by_name["bounces"] / visits, 4) if visits else None,
        "visit_duration": round(by_name["seconds"] / visits) if visits else None,
        "time_on_page": round(by_name["engaged"] / views / 1000) if views else None,
    }


def compute_conversion_metrics(conversions: Conversions, visitors: int) -> dict[str, Any]:
    """Conversions out of a number of visitors; revenue as decimal text by ISO 4217 currency."""
    return {
        "conversions": conversions.count,
        "converted": conversions.visitors,
        "conversion_rate": round(conversions.visitors / visitors, 4) if visitors else None,
        "revenue": {currency: f"{value:.2f}" for currency, value in sorted(conversions.revenue.items())},
    }


def summary(query: Query) -> dict[str, Any]:
    """The metrics of the whole range."""
    return _metrics_by_key(query, _sums(query), [None])[0]


def timeseries(query: Query, interval: str) -> list[dict[str, Any]]:
    """The metrics of each interval of the range, including empty ones.

    `at` is the first instant of the interval, in ISO 8601 and in the time zone of the site.
    """
    zone = query.date_range.zone
    sums = {_to_instant(key, zone): values for key, values in _sums(query, interval=interval).items()}
    starts = interval_starts(query.date_range, interval)
    metrics = _metrics_by_key(query, sums, starts, interval=interval)
    return [
        {"at": start.astimezone(ZoneInfo(zone)).isoformat(), **values}
        for start, values in zip(starts, metrics, strict=True)
    ]


def breakdown(
    query: Query, dimension: str, *, property_name: str = "", limit: int
) -> tuple[list[dict[str, Any]], int]:
    """The metrics of the largest values of a dimension, and how many values there are.

    Ordered by visitors, then page views, then events.
    """
    sums = _sums(query, dimension=dimension, property_name=property_name)
    order = [METRICS.index(name) for name in ("visitors", "pageviews", "events")]
    largest = sorted(sums, key=lambda key: ([-sums[key][position] for position in order], str(key)))[:limit]
    texts = event_sql.get_term_texts([key for key in largest if isinstance(key, int) and key > 0])
    metrics = _metrics_by_key(query, sums, largest, dimension=dimension, property_name=property_name)
    results = [
        {"value": _value_text(key, texts), **values} for key, values in zip(largest, metrics, strict=True)
    ]
    return results, len(sums)


def goal_conversions(query: Query, goals: Sequence[tuple[Filter, ...]]) -> list[dict[str, Any]]:
    """The conversions of each goal. One statement for each goal, and one for the visitors."""
    if not goals:
        return []
    visitors = _count_visitors(query).get(None, 0)
    results = []
    for goal in goals:
        conversions = _count_conversions(replace(query, goal=goal)).get(None, NO_CONVERSIONS)
        results.append(compute_conversion_metrics(conversions, visitors))
    return results


def funnel(query: Query, steps: Sequence[Filter]) -> list[dict[str, Any]]:
    """The visitors of each step who took all steps before it, in order and on the same day.

    `rate` is the share of the visitors of the first step, `step_rate` that of the step before, from 0 to 1.
    """
    sql_fragments.configure_transaction(timeout_milliseconds=STATEMENT_TIMEOUT_MILLISECONDS)
    site_number = query.date_range.site_number
    counts = event_sql.count_funnel_visitors(
        _choose_sample(query.date_range),
        condition=_visit_and_goal_condition(query),
        steps=[
            filters.conversion_condition(site_number, [step], prefix=f"s{number}_")
            for number, step in enumerate(steps)
        ],
    )
    return [
        {
            "step": str(step),
            "visitors": count,
            "rate": round(count / counts[0], 4) if counts[0] else None,
            "step_rate": round(count / previous, 4) if previous else None,
        }
        for step, count, previous in zip(steps, counts, [counts[0], *counts], strict=False)
    ]


def sampled_share(query: Query, *, reads_events: bool = False) -> float:
    """The share of the visitors that a report reads: 1, or less when it reads a sample.

    `reads_events` is True for reports that cannot use roll-ups even without a filter.
    """
    if reads_events or query.is_filtered or query.goal:
        return 1 / _choose_sample(query.date_range).sample_factor
    dirty_days = sorted(rollup_sql.list_dirty_days(query.date_range))
    return min(
        (
            1 / _choose_sample(replace(query.date_range, first=first, last=last)).sample_factor
            for first, last in _consecutive_days(dirty_days)
        ),
        default=1.0,
    )


def comparison_query(query: Query, compare: str) -> Query:
    """The same query for as many days before (`previous`), or for the same days a year ago (`year`)."""
    days = query.date_range
    if compare == "year":
        earlier = replace(days, first=_one_year_before(days.first), last=_one_year_before(days.last))
    else:
        length = days.last - days.first + timedelta(days=1)
        earlier = replace(days, first=days.first - length, last=days.last - length)
    return replace(query, date_range=earlier)


def _one_year_before(day: date) -> date:
    return day.replace(year=day.year - 1, day=28 if (day.month, day.day) == (2, 29) else day.day)


def _metrics_by_key(query: Query, sums: Sums, keys: Sequence[Any], **slices: str) -> list[dict[str, Any]]:
    """The metrics of some keys, with conversions when the query has a goal.

    `slices` are the interval, dimension or property name that the sums were grouped by.
    """
    results = [compute_metrics(sums.get(key, ZERO_SUMS)) for key in keys]
    if query.goal:
        conversions = _count_conversions(query, **slices)
        visitors = _count_visitors(query, **slices)
        for key, result in zip(keys, results, strict=True):
            reached = conversions.get(key, NO_CONVERSIONS)
            result.update(compute_conversion_metrics(reached, visitors.get(key, 0)))
    return results


def _visit_and_goal_condition(query: Query, goal: tuple[Filter, ...] = ()) -> SqlCondition:
    """The events of visits that match the filters, that meet the fixed filters, and that reach the goal."""
    site_number = query.date_range.site_number
    conditions = [
        filters.visit_condition(site_number, query.filters),
        filters.event_condition(site_number, query.fixed_filters, prefix="z"),
    ]
    if goal:
        conditions.append(filters.conversion_condition(site_number, goal))
    parameters: dict[str, Any] = {}
    for condition in conditions:
        parameters |= condition.parameters
    return SqlCondition(" AND ".join(condition.sql for condition in conditions), parameters)


def _count_conversions(query: Query, **slices: str) -> dict[Any, Conversions]:
    sql_fragments.configure_transaction(timeout_milliseconds=STATEMENT_TIMEOUT_MILLISECONDS)
    return event_sql.count_conversions(
        _choose_sample(query.date_range), condition=_visit_and_goal_condition(query, query.goal), **slices
    )


def _count_visitors(query: Query, **slices: str) -> dict[Any, int]:
    """The visitors that conversion rates refer to.

    They are counted from events, because imported days have sums without events, and so no conversions.
    """
    sql_fragments.configure_transaction(timeout_milliseconds=STATEMENT_TIMEOUT_MILLISECONDS)
    sums_by_key = event_sql.sum_events(
        _choose_sample(query.date_range), condition=_visit_and_goal_condition(query), **slices
    )
    return {key: sums[METRICS.index("visitors")] for key, sums in sums_by_key.items()}


def _choose_sample(date_range: DateRange) -> DateRange:
    """The range with a sample factor above 1 when it has too many events to read all of them."""
    count = event_sql.estimate_event_count(date_range)
    if count <= SAMPLING_THRESHOLD_EVENTS:
        return date_range
    factor = 2 ** ceil(log2(count / SAMPLING_THRESHOLD_EVENTS))
    factor = min(MAX_SAMPLE_FACTOR, max(sql_fragments.MIN_SAMPLE_FACTOR, factor))
    return replace(date_range, sample_factor=factor)


def _value_text(key: Any, texts: dict[int, str]) -> str | None:
    """The text of a key of a breakdown; None when the value is unknown."""
    if key == sql_fragments.OTHER_TERM:
        return "(other)"
    return texts.get(key) if isinstance(key, int) else key


def _sums(query: Query, *, interval: str = "", dimension: str = "", property_name: str = "") -> Sums:
    """The sums of a report, from roll-ups where they can answer it, else from events."""
    sql_fragments.configure_transaction(timeout_milliseconds=STATEMENT_TIMEOUT_MILLISECONDS)
    date_range = query.date_range
    condition = filters.event_condition(date_range.site_number, [*query.filters, *query.fixed_filters])

    def from_events(part: DateRange) -> Sums:
        return event_sql.sum_events(
            _choose_sample(part),
            condition=condition,
            interval=interval,
            dimension=dimension,
            property_name=property_name,
        )

    def from_rollups(days: list[date]) -> Sums:
        if interval == "hour":
            return rollup_sql.sum_hours(date_range, days)
        return rollup_sql.sum_days(date_range, days, interval=interval, dimension=dimension)

    if query.is_filtered or property_name or interval == "minute":
        return from_events(date_range)
    return _combine(date_range, from_rollups, from_events)


def _combine(
    date_range: DateRange,
    from_rollups: Callable[[list[date]], Sums],
    from_events: Callable[[DateRange], Sums],
) -> Sums:
    """The sums of a range: from roll-ups, except for days that changed since these were written."""
    dirty_days = set(rollup_sql.list_dirty_days(date_range))
    clean_days = [day for day in date_range.days if day not in dirty_days]
    parts = [from_rollups(clean_days)] if clean_days else []
    for first, last in _consecutive_days(sorted(dirty_days)):
        parts.append(from_events(replace(date_range, first=first, last=last)))
    total: Sums = {}
    for part in parts:
        for key, sums in part.items():
            total_key = _to_instant(key, date_range.zone) if isinstance(key, date) else key
            previous = total.get(total_key, ZERO_SUMS)
            total[total_key] = [left + right for left, right in zip(previous, sums, strict=True)]
    return total


def _consecutive_days(days: list[date]) -> list[tuple[date, date]]:
    """The first and last day of each run of days without a gap. `days` are in order."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _to_instant(key: Any, zone: str) -> datetime:
    """The key of an interval in UTC. Roll-ups use local dates as keys, events use instants."""
    return key.astimezone(UTC) if isinstance(key, datetime) else start_of_day(key, zone)
