"""Parses the query string of a report: date range, interval, dimension, filters and comparison."""

from collections.abc import Callable, Collection
from datetime import date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

from analytics.reports.dimensions import DIMENSIONS
from analytics.reports.filters import FILTER_SYNTAX, MAX_FILTERS, PROPERTY_PREFIX, parse_filter
from analytics.reports.query import INTERVALS, MAX_DAYS_BY_INTERVAL, Query
from analytics.time_zones import DateRange
from core.errors import FieldProblem, Invalid
from core.http.query_params import integer_param, query_param, text_param

MAX_RANGE_DAYS = 2_000
FIRST_DAY = date(2000, 1, 1)
LAST_DAY = date(2100, 1, 1)
DAYS_BY_PERIOD = {"today": 1, "7d": 7, "28d": 28, "30d": 30, "90d": 90, "12m": 365}
COMPARISONS = ("previous", "year")

DATE_PARAMETERS = [
    OpenApiParameter(
        "period",
        str,
        enum=[*DAYS_BY_PERIOD],
        description="The days that end today, in the site's time zone. The default is `30d`.",
    ),
    OpenApiParameter("from", date, description="The first day. Send it with `to`, and instead of `period`."),
    OpenApiParameter("to", date, description="The last day."),
]
FILTER_PARAMETER = OpenApiParameter(
    "filter",
    str,
    many=True,
    description=(
        "`dimension:operator:value`, with further values after `|`. The operators are is, is_not, contains "
        "and contains_not. A property is filtered by `property:name:operator:value`. With several filters, "
        "all of them must match."
    ),
)
RANGE_PARAMETERS = [*DATE_PARAMETERS, FILTER_PARAMETER]
SEGMENT_PARAMETER = OpenApiParameter(
    "segment", UUID, description="The id of saved filters, which apply in addition to those of `filter`."
)
GOAL_PARAMETER = OpenApiParameter(
    "goal", UUID, description="The id of a goal. Adds how many visitors reached it, and its revenue."
)
COMPARE_PARAMETER = OpenApiParameter(
    "compare",
    str,
    enum=[*COMPARISONS],
    description="Also return the metrics of as many days before, or of the same days a year ago.",
)
INTERVAL_PARAMETER = OpenApiParameter(
    "interval",
    str,
    enum=list(INTERVALS),
    description="The default is `day`. Minutes are available for at most 2 days, hours for at most 62.",
)
DIMENSION_PARAMETER = OpenApiParameter(
    "dimension",
    str,
    description=f"One of {', '.join(DIMENSIONS)}, or `property:name`. The default is `page`.",
)
LIMIT_PARAMETER = OpenApiParameter("limit", int, description="1 to 1000. The default is 20.")
BEFORE_PARAMETER = OpenApiParameter(
    "before", datetime, description="Return only events before this time. It is part of `next`."
)
EVENTS_LIMIT_PARAMETER = OpenApiParameter(
    "limit",
    int,
    description=(
        "1 to 1000. The default is 100. All events of the same instant as the last one are returned together."
    ),
)
FORMAT_PARAMETER = OpenApiParameter("format", str, enum=["json", "csv"])


def refuse_unknown_parameters(request: Request, allowed: set[str]) -> None:
    """Raises Invalid when the query string has a parameter other than `allowed` and `format`."""
    unknown = sorted(set(request.query_params) - allowed - {"format"})
    if unknown:
        detail = (
            f"Unknown parameter: {unknown[0][:40]}. "
            f"The parameters here are {', '.join(sorted(allowed | {'format'}))}."
        )
        raise Invalid([FieldProblem("", "query_unknown", detail)])


def parse_query(request: Request, *, site_number: int, zone: str, now: datetime) -> Query:
    """The date range and the filters of a request. Raises Invalid."""
    first, last = _parse_dates(request, today=now.astimezone(ZoneInfo(zone)).date())
    if not FIRST_DAY <= first <= last <= LAST_DAY or (last - first).days >= MAX_RANGE_DAYS:
        raise _invalid_parameter(
            "from", f"The range goes from an earlier day to a later one, {MAX_RANGE_DAYS} days at most."
        )
    texts = request.query_params.getlist("filter")
    if len(texts) > MAX_FILTERS:
        raise _invalid_parameter("filter", f"At most {MAX_FILTERS} filters.")
    try:
        filters = tuple(parse_filter(text) for text in texts)
    except ValueError:
        raise _invalid_parameter("filter", FILTER_SYNTAX) from None
    return Query(DateRange(site_number, zone, first, last), filters)


def _parse_dates(request: Request, *, today: date) -> tuple[date, date]:
    """The first and the last day, from `from` and `to`, or from `period`."""
    first = query_param(request, "from", date.fromisoformat)
    last = query_param(request, "to", date.fromisoformat)
    if (first is None) != (last is None):
        raise _invalid_parameter("to", "Send `from` and `to` together.")
    if first is not None and last is not None:
        return first, last
    period = query_param(request, "period", _choice_parser(DAYS_BY_PERIOD)) or "30d"
    return today - timedelta(days=DAYS_BY_PERIOD[period] - 1), today


def parse_interval(request: Request, query: Query) -> str:
    """The interval of a time series. Raises Invalid when the range has too many of them."""
    interval: str = query_param(request, "interval", _choice_parser(INTERVALS)) or "day"
    days = (query.date_range.last - query.date_range.first).days
    if days >= MAX_DAYS_BY_INTERVAL.get(interval, MAX_RANGE_DAYS):
        raise _invalid_parameter(
            "interval", f"This interval takes at most {MAX_DAYS_BY_INTERVAL[interval]} days."
        )
    return interval


def parse_dimension(request: Request) -> tuple[str, str]:
    """A dimension and, for `property`, the name of the property. Raises Invalid."""
    text = query_param(request, "dimension", text_param) or "page"
    if text.startswith(PROPERTY_PREFIX) and len(text) > len(PROPERTY_PREFIX):
        return "property", text.removeprefix(PROPERTY_PREFIX)
    if text not in DIMENSIONS:
        raise _invalid_parameter("dimension", f"One of {', '.join(DIMENSIONS)}, or property:name.")
    return text, ""


def parse_limit(request: Request) -> int:
    """How many values a breakdown returns. Raises Invalid."""
    return int(query_param(request, "limit", integer_param(1, 1000)) or 20)


def parse_compare(request: Request) -> str:
    """`previous`, `year`, or empty for no comparison. Raises Invalid."""
    return str(query_param(request, "compare", _choice_parser(COMPARISONS)) or "")


def _choice_parser(choices: Collection[str]) -> Callable[[str], str]:
    """A parser for `query_param` that accepts only the given texts."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    return parse


def _invalid_parameter(name: str, detail: str) -> Invalid:
    return Invalid([FieldProblem("", f"query_{name}", detail)])
