"""The question of a report in the query string: range, interval, filters, comparison."""

from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from analytics.reports.dimensions import DIMENSIONS
from analytics.reports.filters import MAX_FILTERS, PROPERTY, SHAPE, parse_filter
from analytics.reports.query import FINEST, INTERVALS, Query
from analytics.reports.time_zones import Span
from core.errors import FieldProblem, Invalid
from core.http.query_params import integer_param, query_param, text_param

MAX_DAYS = 2_000
PERIODS = {"today": 1, "7d": 7, "28d": 28, "30d": 30, "90d": 90, "12m": 365}

RANGE = [
    OpenApiParameter(
        "period",
        str,
        enum=[*PERIODS],
        description="Days that end today, in the site's time zone; `30d` unless told.",
    ),
    OpenApiParameter("from", date, description="The first day, with `to`, in place of `period`."),
    OpenApiParameter("to", date, description="The last day."),
    OpenApiParameter(
        "filter",
        str,
        many=True,
        description="`dimension:operator:value`, more values after `|`; the operators are is, is_not, contains, contains_not. All filters hold. A property is `property:name:operator:value`.",
    ),
]
NARROWED = [
    OpenApiParameter(
        "segment", UUID, description="Filters that were saved; they hold beside those of `filter`."
    ),
    OpenApiParameter("goal", UUID, description="Also say who reached this goal, and what that brought."),
]
COMPARE = OpenApiParameter(
    "compare", str, enum=["previous", "year"], description="The same for as many days before, or a year ago."
)
INTERVAL = OpenApiParameter(
    "interval",
    str,
    enum=list(INTERVALS),
    description="`day` unless told; minutes for two days at most, hours for 62.",
)
DIMENSION = OpenApiParameter(
    "dimension", str, description=f"`page` unless told; one of {', '.join(DIMENSIONS)}, or `property:name`."
)
LIMIT = OpenApiParameter("limit", int, description="1 to 1000; 20 unless told.")
BEFORE = OpenApiParameter("before", datetime, description="Only what came before then: from `next`.")
EVENTS_LIMIT = OpenApiParameter(
    "limit",
    int,
    description="1 to 1000; 100 unless told. All that came at the same instant as the last stay together.",
)
CSV = OpenApiParameter("format", str, enum=["json", "csv"])


def known(request: Request, names: set[str]) -> None:
    """Raise Invalid for parameters that do not exist here."""
    if unknown := sorted(set(request.query_params) - names - {"format"}):
        told = f"Not a parameter here: {unknown[0][:40]}. There are {', '.join(sorted(names | {'format'}))}."
        raise Invalid([FieldProblem("", "query_unknown", told)])


def read_query(request: Request, *, site: int, zone: str, now: datetime) -> Query:
    """Raises Invalid."""
    today = now.astimezone(ZoneInfo(zone)).date()
    first = query_param(request, "from", date.fromisoformat)
    last = query_param(request, "to", date.fromisoformat)
    if (first is None) != (last is None):
        raise _refused("to", "Send `from` and `to` together.")
    if first is None or last is None:
        days = query_param(request, "period", _one_of(PERIODS)) or "30d"
        first = today - timedelta(days=PERIODS[days] - 1)
        last = today
    if not date(2000, 1, 1) <= first <= last <= date(2100, 1, 1) or (last - first).days >= MAX_DAYS:
        raise _refused("from", f"The range goes from an earlier day to a later one, {MAX_DAYS} days at most.")
    given = request.query_params.getlist("filter")
    if len(given) > MAX_FILTERS:
        raise _refused("filter", f"At most {MAX_FILTERS} filters.")
    try:
        return Query(Span(site, zone, first, last), tuple(parse_filter(text) for text in given))
    except ValueError:
        raise _refused("filter", SHAPE) from None


def read_interval(request: Request, query: Query) -> str:
    interval: str = query_param(request, "interval", _one_of(INTERVALS)) or "day"
    if (query.span.last - query.span.first).days >= FINEST.get(interval, MAX_DAYS):
        raise _refused("interval", f"This interval takes at most {FINEST[interval]} days.")
    return interval


def read_dimension(request: Request) -> tuple[str, str]:
    """A dimension and, for `property`, the name of one. Raises Invalid."""
    text = query_param(request, "dimension", text_param) or "page"
    if text.startswith(PROPERTY) and len(text) > len(PROPERTY):
        return "property", text.removeprefix(PROPERTY)
    if text not in DIMENSIONS:
        raise _refused("dimension", f"One of {', '.join(DIMENSIONS)}, or property:name.")
    return text, ""


def read_limit(request: Request) -> int:
    return int(query_param(request, "limit", integer_param(1, 1000)) or 20)


def read_compare(request: Request) -> str:
    return str(query_param(request, "compare", _one_of(("previous", "year"))) or "")


def _one_of(names: Any) -> Any:
    def read(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return read


def _refused(name: str, detail: str) -> Invalid:
    return Invalid([FieldProblem("", f"query_{name}", detail)])
