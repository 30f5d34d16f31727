"""One question about the visits of a site, and its answer: for the API, files, charts and links that are
shared.

Whole days without a filter come from roll-ups; days whose events are newer than their roll-up, and everything
with a filter, from the events themselves. Both are exact, and days add up, so an answer may be made of both.
Beyond `MANY` events that must be read one by one, an answer is made of a sample of visitors, and `share` says
which part they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from math import ceil, log2
from typing import Any
from zoneinfo import ZoneInfo

from analytics.reports import filters, sql_store
from analytics.reports.dimensions import METRICS
from analytics.reports.filters import Filter
from analytics.reports.sql_store import Conversions, Where
from analytics.reports.time_zones import Span, day_starts, starts

Sums = dict[Any, list[int]]
INTERVALS = ("minute", "hour", "day", "week", "month")
SLOWEST = 5_000  # milliseconds that a report may take in the database
MANY = 1_000_000  # events beyond which a report from events is made of a sample
FINEST = {"minute": 2, "hour": 62}  # days that may be asked for at this interval


@dataclass(frozen=True, slots=True)
class Query:
    """With a `goal` the metrics also say who reached it.

    What is `frozen` holds for every single event that is counted.
    """

    span: Span
    filters: tuple[Filter, ...] = ()
    goal: tuple[Filter, ...] = ()
    frozen: tuple[Filter, ...] = ()

    @property
    def narrow(self) -> bool:
        return bool(self.filters or self.frozen)


def metrics(sums: list[int]) -> dict[str, Any]:
    """What people read, from sums: ratios from 0 to 1, durations in seconds.

    Without visits there is no ratio.
    """
    found = dict(zip(METRICS, sums, strict=True))
    visits = found["visits"]
    return {
        "visitors": found["visitors"],
        "visits": visits,
        "pageviews": found["pageviews"],
        "events": found["events"],
        "views_per_visit": round(found["views"] / visits, 2) if visits else None,
        "bounce_rate": round(found["bounces"] / visits, 4) if visits else None,
        "visit_duration": round(found["seconds"] / visits) if visits else None,
        "time_on_page": round(found["engaged"] / found["views"] / 1000) if found["views"] else None,
    }


NOTHING = [0] * len(METRICS)
NOBODY = Conversions()


def converted(found: Conversions, visitors: int) -> dict[str, Any]:
    """Who reached a goal, of so many; revenue as decimal text by ISO 4217 currency."""
    return {
        "conversions": found.count,
        "converted": found.visitors,
        "conversion_rate": round(found.visitors / visitors, 4) if visitors else None,
        "revenue": {currency: f"{value:.2f}" for currency, value in sorted(found.revenue.items())},
    }


def summary(query: Query) -> dict[str, Any]:
    """The metrics of the whole range."""
    return _answers(query, _ask(query), [None])[0]


def timeseries(query: Query, interval: str) -> list[dict[str, Any]]:
    """Metrics of each interval of the range, empty ones too: `at` is its first instant in the site's time
    zone.
    """
    zone = query.span.zone
    found = {_instant(key, zone): sums for key, sums in _ask(query, bucket=interval).items()}
    moments = starts(query.span, interval)
    answers = _answers(query, found, moments, bucket=interval)
    return [
        {"at": at.astimezone(ZoneInfo(zone)).isoformat(), **answer}
        for at, answer in zip(moments, answers, strict=True)
    ]


def breakdown(
    query: Query, dimension: str, *, prop: str = "", limit: int
) -> tuple[list[dict[str, Any]], int]:
    """The largest slices by visitors, then page views and events; and how many there are."""
    found = _ask(query, dimension=dimension, prop=prop)
    place = [METRICS.index(name) for name in ("visitors", "pageviews", "events")]
    largest = sorted(found, key=lambda key: ([-found[key][one] for one in place], str(key)))[:limit]
    names = sql_store.names_of([key for key in largest if isinstance(key, int) and key > 0])
    answers = _answers(query, found, largest, dimension=dimension, prop=prop)
    return [
        {"value": _shown(key, names), **answer} for key, answer in zip(largest, answers, strict=True)
    ], len(found)


def goals(query: Query, asked: Sequence[tuple[Filter, ...]]) -> list[dict[str, Any]]:
    """How often each of some goals was reached, and by which part of the visitors.

    One statement each, and one for the visitors.
    """
    if not asked:
        return []
    visitors = _visitors(query).get(None, 0)
    return [converted(_conversions(replace(query, goal=goal)).get(None, NOBODY), visitors) for goal in asked]


def funnel(query: Query, steps: Sequence[Filter]) -> list[dict[str, Any]]:
    """Visitors of each step who took all before it, in order and on the same day; rates from 0 to 1."""
    sql_store.prepare(slowest=SLOWEST)
    site = query.span.site
    span = _sampled(query.span)
    reached = [filters.reached(site, [step], name=f"s{number}_") for number, step in enumerate(steps)]
    counts = sql_store.funnel(span, where=_followed(query), steps=reached)
    return [
        {
            "step": str(step),
            "visitors": count,
            "rate": round(count / counts[0], 4) if counts[0] else None,
            "step_rate": round(count / before, 4) if before else None,
        }
        for step, count, before in zip(steps, counts, [counts[0], *counts], strict=False)
    ]


def share(query: Query, *, raw: bool = False) -> float:
    """The part of the visitors that an answer is made of: 1, or less where there are so many events that only
    a sample is in time.
    """
    if raw or query.narrow or query.goal:
        return 1 / _sampled(query.span).sample
    runs = _runs(sorted(sql_store.dirty_days(query.span)))
    return min(
        (1 / _sampled(replace(query.span, first=first, last=last)).sample for first, last in runs),
        default=1.0,
    )


def _answers(query: Query, found: Sums, keys: Sequence[Any], **cut: str) -> list[dict[str, Any]]:
    """The metrics of some slices, with conversions where a goal is asked for."""
    answers = [metrics(found.get(key, NOTHING)) for key in keys]
    if query.goal:
        reached = _conversions(query, **cut)
        visitors = _visitors(query, **cut)
        for key, answer in zip(keys, answers, strict=True):
            answer.update(converted(reached.get(key, NOBODY), visitors.get(key, 0)))
    return answers


def _followed(query: Query, goal: tuple[Filter, ...] = ()) -> Where:
    """In the visits that are filtered for, the events that may be shown, and of those the ones that reach a
    goal.
    """
    site = query.span.site
    parts = [filters.visits(site, query.filters), filters.where(site, query.frozen, name="z")]
    parts += [filters.reached(site, goal)] if goal else []
    return Where(
        " AND ".join(part.sql for part in parts),
        {name: value for part in parts for name, value in part.values.items()},
    )


def _conversions(query: Query, **cut: str) -> dict[Any, Conversions]:
    sql_store.prepare(slowest=SLOWEST)
    return sql_store.conversions(_sampled(query.span), where=_followed(query, query.goal), **cut)


def _visitors(query: Query, **cut: str) -> dict[Any, int]:
    """Of whom conversions are a part: those of whom there are events, which sums of days from elsewhere have
    none of.
    """
    sql_store.prepare(slowest=SLOWEST)
    found = sql_store.raw_sums(_sampled(query.span), where=_followed(query), **cut)
    return {key: sums[METRICS.index("visitors")] for key, sums in found.items()}


def _sampled(span: Span) -> Span:
    """The span, or a sample of it where there are many events."""
    count = sql_store.size(span)
    return (
        span
        if count <= MANY
        else replace(span, sample=min(256, max(sql_store.ONE_IN, 2 ** ceil(log2(count / MANY)))))
    )


def before(query: Query, compare: str) -> Query:
    """The same question about as many days before, or about the same days a year ago."""
    span = query.span
    if compare == "year":
        return replace(
            query, span=replace(span, first=_year_before(span.first), last=_year_before(span.last))
        )
    days = span.last - span.first + timedelta(days=1)
    return replace(query, span=replace(span, first=span.first - days, last=span.last - days))


def _year_before(day: date) -> date:
    return day.replace(year=day.year - 1, day=28 if (day.month, day.day) == (2, 29) else day.day)


def _shown(key: Any, names: dict[int, str]) -> str | None:
    """A slice as people read it; None is unknown."""
    if key == sql_store.BEYOND:
        return "(other)"
    return names.get(key) if isinstance(key, int) else key


def _ask(query: Query, *, bucket: str = "", dimension: str = "", prop: str = "") -> Sums:
    sql_store.prepare(slowest=SLOWEST)
    where = filters.where(query.span.site, [*query.filters, *query.frozen])

    def raw(span: Span) -> Sums:
        return sql_store.raw_sums(_sampled(span), where=where, bucket=bucket, dimension=dimension, prop=prop)

    if query.narrow or prop or bucket == "minute":
        return raw(query.span)
    if bucket == "hour":
        return _mixed(query.span, lambda days: sql_store.rolled_hours(query.span, days), raw)
    return _mixed(
        query.span,
        lambda days: sql_store.rolled_sums(query.span, days, bucket=bucket, dimension=dimension),
        raw,
    )


def _mixed(span: Span, rolled: Callable[[list[date]], Sums], raw: Callable[[Span], Sums]) -> Sums:
    """Roll-ups of the days that have them, and events of those that changed since."""
    dirty = set(sql_store.dirty_days(span))
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
