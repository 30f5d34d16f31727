"""One question about the visits of a site, and its answer: for the API, files, charts and links that are shared.

Whole days without a filter come from roll-ups; days whose events are newer than their roll-up, and everything with a filter, from the events
themselves. Both are exact, and days add up, so an answer may be made of both.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connection

from analytics import store
from analytics.models import Term
from analytics.store import DIMENSIONS, METRICS, Span, Where
from analytics.zones import day_starts

Sums = dict[Any, list[int]]
INTERVALS = ("minute", "hour", "day", "week", "month")
OPERATORS = {"is", "is_not", "contains", "contains_not"}
SLOWEST = 5_000  # milliseconds that a report may take in the database
FINEST = {"minute": 2, "hour": 62}  # days that may be asked for at this interval


@dataclass(frozen=True, slots=True)
class Filter:
    """Events whose `dimension` is (or is not) one of `values`, or contains one. `prop` names the property of a dimension `property`."""

    dimension: str
    operator: str
    values: tuple[str, ...]
    prop: str = ""


@dataclass(frozen=True, slots=True)
class Query:
    span: Span
    filters: tuple[Filter, ...] = ()


def metrics(sums: list[int]) -> dict[str, Any]:
    """What people read, from sums: ratios from 0 to 1, durations in seconds. Without visits there is no ratio."""
    found = dict(zip(METRICS, sums, strict=True))
    visits = found["visits"]
    return {
        "visitors": found["visitors"],
        "visits": visits,
        "pageviews": found["pageviews"],
        "events": found["events"],
        "views_per_visit": round(found["pageviews"] / visits, 2) if visits else None,
        "bounce_rate": round(found["bounces"] / visits, 4) if visits else None,
        "visit_duration": round(found["seconds"] / visits) if visits else None,
        "time_on_page": round(found["engaged"] / found["pageviews"] / 1000) if found["pageviews"] else None,
    }


NOTHING = [0] * len(METRICS)


def summary(query: Query) -> dict[str, Any]:
    """The metrics of the whole range."""
    return metrics(_ask(query).get(None, NOTHING))


def timeseries(query: Query, interval: str) -> list[dict[str, Any]]:
    """Metrics of each interval of the range, empty ones too: `at` is its first instant in the site's time zone."""
    found = {_instant(key, query.span.zone): sums for key, sums in _ask(query, bucket=interval).items()}
    return [
        {"at": at.astimezone(ZoneInfo(query.span.zone)).isoformat(), **metrics(found.get(at, NOTHING))}
        for at in _instants(query.span, interval)
    ]


def breakdown(query: Query, dimension: str, *, prop: str = "", limit: int) -> tuple[list[dict[str, Any]], int]:
    """The largest slices by visitors, then page views and name; and how many there are."""
    found = _ask(query, dimension=dimension, prop=prop)
    names = store.names_of([key for key in found if isinstance(key, int) and key > 0])
    rows = [{"value": _shown(key, names), **metrics(sums)} for key, sums in found.items()]
    rows.sort(key=lambda row: (-row["visitors"], -row["pageviews"], -row["events"], row["value"] or ""))
    return rows[:limit], len(rows)


def before(query: Query, compare: str) -> Query:
    """The same question about as many days before, or about the same days a year ago."""
    span = query.span
    if compare == "year":
        return replace(query, span=replace(span, first=_year_before(span.first), last=_year_before(span.last)))
    days = span.last - span.first + timedelta(days=1)
    return replace(query, span=replace(span, first=span.first - days, last=span.last - days))


def _year_before(day: date) -> date:
    return day.replace(year=day.year - 1, day=28 if (day.month, day.day) == (2, 29) else day.day)


def _shown(key: Any, names: dict[int, str]) -> str | None:
    """A slice as people read it; None is unknown."""
    if key == store.BEYOND:
        return "(other)"
    return names.get(key) if isinstance(key, int) else key


def _ask(query: Query, *, bucket: str = "", dimension: str = "", prop: str = "") -> Sums:
    where = _where(query)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(SLOWEST)])

    def raw(span: Span) -> Sums:
        return store.raw_sums(span, where=where, bucket=bucket, dimension=dimension, prop=prop)

    if query.filters or prop or bucket == "minute":
        return raw(query.span)
    if bucket == "hour":
        return _mixed(query.span, lambda days: store.rolled_hours(query.span, days), raw)
    return _mixed(query.span, lambda days: store.rolled_sums(query.span, days, bucket=bucket, dimension=dimension), raw)


def _mixed(span: Span, rolled: Callable[[list[date]], Sums], raw: Callable[[Span], Sums]) -> Sums:
    """Roll-ups of the days that have them, and events of those that changed since."""
    dirty = set(store.dirty_days(span))
    days = [span.first + timedelta(days=count) for count in range((span.last - span.first).days + 1)]
    clean = [day for day in days if day not in dirty]
    answers = [rolled(clean)] if clean else []
    answers += [raw(replace(span, first=first, last=last)) for first, last in _runs(sorted(dirty))]
    total: Sums = {}
    for answer in answers:
        for key, sums in answer.items():
            at = _instant(key, span.zone) if isinstance(key, date) else key
            total[at] = [one + other for one, other in zip(total.get(at, NOTHING), sums, strict=True)]
    return total


def _runs(days: list[date]) -> list[tuple[date, date]]:
    """First and last of days that follow each other."""
    runs: list[tuple[date, date]] = []
    for day in days:
        if runs and day - runs[-1][1] == timedelta(days=1):
            runs[-1] = (runs[-1][0], day)
        else:
            runs.append((day, day))
    return runs


def _instant(key: Any, zone: str) -> datetime:
    return key.astimezone(UTC) if isinstance(key, datetime) else day_starts(key, zone)


def _instants(span: Span, interval: str) -> list[datetime]:
    """The first instants of all intervals that begin within the range, or before it for weeks and months that it is part of."""
    bounds = span.bounds
    if interval in {"minute", "hour"}:
        step = timedelta(minutes=1) if interval == "minute" else timedelta(hours=1)
        count = -(-(bounds["until"] - bounds["since"]) // step)
        return [bounds["since"] + step * number for number in range(count)]
    days = [span.first + timedelta(days=count) for count in range((span.last - span.first).days + 1)]
    starts = {
        "day": lambda day: day,
        "week": lambda day: day - timedelta(days=day.weekday()),
        "month": lambda day: day.replace(day=1),
    }
    return [day_starts(day, span.zone) for day in dict.fromkeys(starts[interval](day) for day in days)]


def _where(query: Query) -> Where:
    """Filters as a condition over events. Texts become numbers first, so that no row is compared by text."""
    parts: list[str] = ["true"]
    values: dict[str, Any] = {}
    for number, item in enumerate(query.filters):
        name, negative = f"f{number}", item.operator in {"is_not", "contains_not"}
        if item.dimension == "property":
            values[f"{name}_property"] = item.prop
            expression = f"(props ->> %({name}_property)s)"
            values[name] = _patterns(item.values) if item.operator.startswith("contains") else list(item.values)
            found = f"{expression} {'ILIKE' if item.operator.startswith('contains') else '='} ANY(%({name})s)"
        else:
            expression = DIMENSIONS[item.dimension].column
            values[name] = _terms(query.span.site, item)
            found = f"{expression} = ANY(%({name})s)"
        parts.append(f"coalesce(NOT ({found}), true)" if negative else f"({found})")
    return Where(" AND ".join(parts), values)


def _patterns(values: tuple[str, ...]) -> list[str]:
    escaped = [value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") for value in values]
    return [f"%{value}%" for value in escaped]


def _terms(site: int, item: Filter) -> list[int]:
    rows = Term.objects.filter(site_number=site, sort=DIMENSIONS[item.dimension].sort)
    if item.operator.startswith("contains"):
        rows = rows.extra(where=["text ILIKE ANY(%s)"], params=[_patterns(item.values)])
    else:
        rows = rows.filter(text__in=item.values)
    return list(rows.values_list("pk", flat=True))
