"""Formats metrics as text, and draws a time series as SVG paths and as a table with the same values."""

from datetime import datetime, timedelta
from typing import Any

from babel import Locale

from analytics.reports.filters import PROPERTY_PREFIX, Filter

ENGLISH = Locale("en")
OPERATOR_LABELS = {
    "is": "is",
    "is_not": "is not",
    "contains": "contains",
    "contains_not": "does not contain",
}
# Size of the drawing in units of its view box; the browser stretches it to the available width.
CHART_WIDTH = 1000
CHART_HEIGHT = 240
MAX_AXIS_LABELS = 6
INTERVAL_LENGTHS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=28),
}
DATE_FORMATS = {
    "minute": "%H:%M",
    "hour": "%d %b %H:%M",
    "day": "%d %b",
    "week": "%d %b",
    "month": "%b %Y",
}


def format_metric(name: str, value: float | None) -> str:
    """A metric as text: 1,234 or 2.4 or 37 % or 1 m 05 s; a dash for None."""
    if value is None:
        return "–"
    if name == "bounce_rate":
        return format_percent(value)
    if name == "visit_duration":
        minutes, seconds = divmod(int(value), 60)
        return f"{minutes} m {seconds:02d} s" if minutes else f"{seconds} s"
    return f"{value:,.2f}" if name == "views_per_visit" else f"{value:,}"


def format_percent(value: float | None) -> str:
    """A ratio from 0 to 1 in percent, with one decimal place below 10 %."""
    if value is None:
        return "–"
    if value == 0 or value >= 0.1:
        return f"{100 * value:.0f} %"
    return f"{100 * value:.1f} %"


def format_change(current: float | None, previous: float | None) -> str:
    """The relative change in percent with its sign; empty when there is nothing to compare with."""
    if current is None or not previous:
        return ""
    percent = round(100 * (current - previous) / previous)
    if percent == 0:
        return "±0 %"
    return f"{'+' if percent > 0 else '−'}{abs(percent):,} %"


def value_label(dimension: str, value: str | None) -> str:
    """The text of a value of a dimension: countries and languages by their English names."""
    if value is None:
        return "direct or unknown" if dimension in {"source", "referrer"} else "unknown"
    if dimension == "country":
        return str(ENGLISH.territories.get(value, value))
    if dimension == "language":
        return str(ENGLISH.languages.get(value, value))
    return value


def filter_label(item: Filter, dimension_labels: dict[str, str]) -> str:
    """A filter as a sentence, such as "Country is Germany or France"."""
    default_label = item.dimension.removeprefix(PROPERTY_PREFIX).replace("_", " ").capitalize()
    name = item.property_name or dimension_labels.get(item.dimension, default_label)
    values = " or ".join(value_label(item.dimension, value) for value in item.values)
    return f"{name} {OPERATOR_LABELS[item.operator]} {values}"


def line_chart(
    points: list[dict[str, Any]],
    compared_points: list[dict[str, Any]],
    *,
    metric: str,
    label: str,
    interval: str,
    notes: list[dict[str, Any]],
    now: datetime,
) -> dict[str, Any]:
    """The template context of a chart of one metric over time, with a second curve to compare it with.

    `points` are as `query.timeseries()` returns them. The last interval is drawn as `unfinished_path` while
    it is not over, and intervals in the future are not drawn. `rows` are the values as a table, and `marks`
    the days of `notes`.
    """
    starts = [datetime.fromisoformat(point["at"]) for point in points]
    labels = [f"{start:{DATE_FORMATS[interval]}}".lstrip("0") for start in starts]
    started = max(1, sum(start <= now for start in starts))
    all_values = [float(point[metric] or 0) for point in points]
    values = all_values[:started]
    compared = [float(point[metric] or 0) for point in compared_points][: len(points)]
    top = _axis_maximum(max([*all_values, *compared, 0.0]), metric)
    step = CHART_WIDTH / max(1, len(points) - 1)
    is_unfinished = len(values) > 1 and now - starts[started - 1] < INTERVAL_LENGTHS[interval]
    finished = values[:-1] if is_unfinished else values
    highest = max(range(len(values)), key=values.__getitem__)
    return {
        "label": f"{label} by {interval}",
        "path": _svg_path(finished, step, top),
        "area": f"{_svg_path(finished, step, top)} V{CHART_HEIGHT} H0 Z",
        "unfinished_path": _svg_path(values[-2:], step, top, first=len(values) - 2) if is_unfinished else "",
        "compared_path": _svg_path(compared, step, top),
        "top_label": format_metric(metric, _int_if_whole(top)),
        "middle_label": format_metric(metric, _int_if_whole(top / 2)),
        "axis": _axis_labels(labels),
        "marks": _note_marks(starts, step, notes) if interval == "day" else [],
        "rows": _table_rows(labels, points, compared_points, metric=metric, step=step),
        "step": round(step, 2),
        "text": (
            f"{label} by {interval} from {labels[0]} to {labels[-1]}. "
            f"Highest: {format_metric(metric, points[highest][metric])} at {labels[highest]}."
        ),
    }


def _axis_labels(labels: list[str]) -> list[dict[str, Any]]:
    """At most `MAX_AXIS_LABELS` labels, with their distance from the left in percent."""
    every = max(1, -(-len(labels) // MAX_AXIS_LABELS))
    return [
        {"text": text, "left": round(100 * number / max(1, len(labels) - 1), 2)}
        for number, text in enumerate(labels)
        if number % every == 0
    ]


def _note_marks(starts: list[datetime], step: float, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The days that have notes, with the joined texts of these."""
    texts_by_day = {
        day: "; ".join(note["text"] for note in notes if note["day"] == day)
        for day in {note["day"] for note in notes}
    }
    return [
        {"x": round(step * number, 1), "text": texts_by_day[start.date()]}
        for number, start in enumerate(starts)
        if start.date() in texts_by_day
    ]


def _table_rows(
    labels: list[str],
    points: list[dict[str, Any]],
    compared_points: list[dict[str, Any]],
    *,
    metric: str,
    step: float,
) -> list[dict[str, Any]]:
    """One row for each interval; `x` is the left edge of its hover area in the drawing."""
    rows = []
    for number, (text, point) in enumerate(zip(labels, points, strict=True)):
        has_compared = number < len(compared_points)
        rows.append(
            {
                "label": text,
                "value": format_metric(metric, point[metric]),
                "compared": format_metric(metric, compared_points[number][metric]) if has_compared else "–",
                "x": round(step * number - step / 2, 1),
            }
        )
    return rows


def _svg_path(values: list[float], step: float, top: float, *, first: int = 0) -> str:
    """The curve of some values, which begin at the position `first`. A single value becomes a dot."""
    points = []
    for number, value in enumerate(values):
        x = round(step * (first + number), 1)
        y = round(CHART_HEIGHT - CHART_HEIGHT * value / top, 1)
        points.append(f"{x} {y}")
    return f"M{' L'.join(points)}" + ("h.01" if len(points) == 1 else "")


def _axis_maximum(highest: float, metric: str) -> float:
    """The next round number at or above the highest value."""
    if metric == "bounce_rate":
        return 1.0
    if highest <= 2:
        return 2.0
    power = 1.0
    while power * 10 < highest:
        power *= 10
    return next(power * factor for factor in (1, 2, 4, 6, 8, 10) if power * factor >= highest)


def _int_if_whole(value: float) -> float:
    return int(value) if value == int(value) else value
