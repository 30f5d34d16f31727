"""Numbers as people read them, and the curve over time as an SVG whose text says the same."""

from datetime import datetime, timedelta
from typing import Any

from babel import Locale

from analytics.reports.filters import PROPERTY, Filter

ENGLISH = Locale("en")
WORDS = {"is": "is", "is_not": "is not", "contains": "contains", "contains_not": "does not contain"}
# units of the drawing; it is stretched to its place
WIDTH = 1000
HEIGHT = 240
LABELS = 6
LASTS = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=28),
}
FORMATS = {"minute": "%H:%M", "hour": "%d %b %H:%M", "day": "%d %b", "week": "%d %b", "month": "%b %Y"}


def shown(measure: str, value: float | None) -> str:
    """A metric for people: 1,234 · 2.4 · 37 % · 1 m 05 s."""
    if value is None:
        return "–"
    if measure == "bounce_rate":
        return percent(value)
    if measure == "visit_duration":
        minutes, seconds = divmod(int(value), 60)
        return f"{minutes} m {seconds:02d} s" if minutes else f"{seconds} s"
    return f"{value:,.2f}" if measure == "views_per_visit" else f"{value:,}"


def percent(value: float | None) -> str:
    return (
        "–"
        if value is None
        else f"{100 * value:.0f} %"
        if value == 0 or value >= 0.1
        else f"{100 * value:.1f} %"
    )


def change(now: float | None, before: float | None) -> str:
    """How much more or less, with its sign; empty where there is nothing to compare with."""
    if now is None or not before:
        return ""
    part = round(100 * (now - before) / before)
    return "±0 %" if part == 0 else f"{'+' if part > 0 else '−'}{abs(part):,} %"


def value_label(dimension: str, value: str | None) -> str:
    """A slice by its name: countries and languages in words."""
    if value is None:
        return "direct or unknown" if dimension in {"source", "referrer"} else "unknown"
    if dimension == "country":
        return str(ENGLISH.territories.get(value, value))
    if dimension == "language":
        return str(ENGLISH.languages.get(value, value))
    return value


def filter_label(one: Filter, names: dict[str, str]) -> str:
    name = (
        one.prop
        if one.prop
        else names.get(one.dimension, one.dimension.removeprefix(PROPERTY).replace("_", " ").capitalize())
    )
    return f"{name} {WORDS[one.operator]} {' or '.join(value_label(one.dimension, value) for value in one.values)}"


def lines(
    points: list[dict[str, Any]],
    others: list[dict[str, Any]],
    *,
    measure: str,
    label: str,
    interval: str,
    notes: list[dict[str, Any]],
    now: datetime,
) -> dict[str, Any]:
    """The curve of a metric, the one it is compared with, and where something happened.

    What is not over yet is `open`. `rows` are the same as a table.
    """
    values = [float(point[measure] or 0) for point in points]
    before = [float(point[measure] or 0) for point in others][: len(points)]
    top = _ceiling(max([*values, *before, 0.0]), measure)
    step = WIDTH / max(1, len(points) - 1)
    moments = [datetime.fromisoformat(point["at"]) for point in points]
    labels = [f"{moment:{FORMATS[interval]}}".lstrip("0") for moment in moments]
    begun = max(1, sum(moment <= now for moment in moments))  # what lies ahead has no value
    values = values[:begun]
    unfinished = len(values) > 1 and now - moments[begun - 1] < LASTS[interval]
    done = values[:-1] if unfinished else values
    texts = {
        day: "; ".join(note["text"] for note in notes if note["day"] == day)
        for day in {note["day"] for note in notes}
    }
    rows = [
        {
            "label": text,
            "value": shown(measure, point[measure]),
            "before": shown(measure, others[number][measure]) if number < len(others) else "–",
            "x": round(step * number - step / 2, 1),
        }
        for number, (text, point) in enumerate(zip(labels, points, strict=True))
    ]
    highest = max(range(len(values)), key=values.__getitem__)
    every = max(1, -(-len(labels) // LABELS))
    return {
        "label": f"{label} by {interval}",
        "path": _path(done, step, top),
        "area": f"{_path(done, step, top)} V{HEIGHT} H0 Z",
        "open": _path(values[-2:], step, top, first=len(values) - 2) if unfinished else "",
        "before": _path(before, step, top),
        "top": shown(measure, _whole(top)),
        "middle": shown(measure, _whole(top / 2)),
        "axis": [
            {"text": text, "left": round(100 * number / max(1, len(labels) - 1), 2)}
            for number, text in enumerate(labels)
            if number % every == 0
        ],
        "marks": [
            {"x": round(step * number, 1), "text": texts[moment.date()]}
            for number, moment in enumerate(moments)
            if interval == "day" and moment.date() in texts
        ],
        "rows": rows,
        "step": round(step, 2),
        "text": f"{label} by {interval} from {labels[0]} to {labels[-1]}. Highest: {shown(measure, points[highest][measure])} at {labels[highest]}.",
    }


def _y(value: float, top: float) -> float:
    return round(HEIGHT - HEIGHT * value / top, 1)


def _path(values: list[float], step: float, top: float, *, first: int = 0) -> str:
    points = [f"{round(step * (first + number), 1)} {_y(value, top)}" for number, value in enumerate(values)]
    return f"M{' L'.join(points)}" + ("h.01" if len(points) == 1 else "")


def _ceiling(highest: float, measure: str) -> float:
    """The next round number at or above, for the top of the axis."""
    if measure == "bounce_rate":
        return 1.0
    power = 1.0
    while power * 10 < highest:
        power *= 10
    return (
        next((power * factor for factor in (1, 2, 4, 6, 8, 10) if power * factor >= highest), power * 10)
        if highest > 2
        else 2.0
    )


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value
