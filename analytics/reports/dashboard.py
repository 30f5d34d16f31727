"""The template context of a site's dashboard, for the admin and for shared links.

The page is rendered on the server without scripts: every choice is a link with another query string.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from rest_framework.request import Request

from analytics import selectors
from analytics.models import Definition
from analytics.reports import charts, event_sql, query
from analytics.reports.filters import EVENT_DIMENSIONS, Filter, parse_conditions
from analytics.reports.query import Query
from analytics.reports.query_params import DAYS_BY_PERIOD, parse_compare, parse_query
from core.errors import FieldProblem, Invalid
from sites.models import Site

CURRENT_VISITORS_WINDOW = timedelta(minutes=5)
MAX_PANEL_ROWS = 10
MAX_GOALS_OR_FUNNELS = 10  # each of them costs a query of its own
METRIC_LABELS = {
    "visitors": "Visitors",
    "visits": "Visits",
    "pageviews": "Page views",
    "views_per_visit": "Views per visit",
    "bounce_rate": "Bounce rate",
    "visit_duration": "Visit duration",
}
PERIOD_LABELS = {
    "today": "Today",
    "7d": "7 days",
    "30d": "30 days",
    "90d": "90 days",
    "12m": "12 months",
}
COMPARISON_LABELS = {"previous": "the previous period", "year": "a year ago"}
# Panels with their tabs: each tab is a dimension and its title. Panel names are parameters of the page.
PANELS = {
    "pages": {"page": "Pages", "entry_page": "Entry pages", "exit_page": "Exit pages"},
    "sources": {
        "source": "Sources",
        "referrer": "Referrers",
        "utm_campaign": "Campaigns",
        "utm_medium": "Media",
    },
    "places": {"country": "Countries", "region": "Regions", "language": "Languages"},
    "machines": {"device": "Devices", "browser": "Browsers", "os": "Systems"},
    "events": {"event": "Events"},
}
DIMENSION_LABELS = {name: label[:-1] for tabs in PANELS.values() for name, label in tabs.items()} | {
    "entry_page": "Entry page",
    "exit_page": "Exit page",
    "country": "Country",
    "utm_medium": "Medium",
}
PANEL_DIMENSIONS = {name for tabs in PANELS.values() for name in tabs}
PAGE_PARAMETERS = {"period", "from", "to", "filter", "compare", "measure", *PANELS}
DROP_REASON_LABELS = {
    "bot": "crawlers and headless browsers",
    "prefetch": "prefetched pages",
    "duplicate": "sent twice",
    "other_host": "sent from another host",
    "invalid": "not valid",
    "signal": "visitors with a Do Not Track signal",
    "disabled": "counting was switched off",
    "shed": "times on page, discarded during high load",
    "alone": "without a preceding page view",
    "too_many": "more than 20 in one request",
    "too_old": "older than 7 days",
    "too_new": "from the future",
}


@dataclass(frozen=True, slots=True)
class DashboardState:
    """What the query string of the page selects.

    `error` explains why the query string was ignored, or is empty. `is_shared` is True behind a link.
    """

    query: Query
    parameters: QueryDict
    compare: str
    metric: str
    error: str = ""
    is_shared: bool = False

    def link(self, **changes: str | None) -> str:
        """The query string of the same page with changed parameters; None removes one. Filters stay."""
        parameters = {
            name: value
            for name, value in self.parameters.items()
            if name in PAGE_PARAMETERS and name not in {"filter", *changes}
        }
        parameters |= {name: value for name, value in changes.items() if value is not None}
        filters = [("filter", text) for text in self.parameters.getlist("filter")]
        return "?" + urlencode([*parameters.items(), *filters])

    def link_with_filter(self, text: str) -> str:
        """The query string of the same page with one more filter."""
        if text in self.parameters.getlist("filter"):
            return self.link()
        return f"{self.link()}&{urlencode({'filter': text})}"

    def link_without_filter(self, text: str) -> str:
        """The query string of the same page without one of its filters."""
        parameters = self.parameters.copy()
        parameters.setlist("filter", [other for other in parameters.getlist("filter") if other != text])
        return replace(self, parameters=parameters).link()


def parse_dashboard_state(
    request: HttpRequest, site: Site, *, fixed_filters: tuple[Filter, ...] | None = None, now: datetime
) -> DashboardState:
    """The state of the dashboard from a query string.

    An invalid query string selects the last 30 days, with the reason in `error`. `fixed_filters` are those of
    a shared link, and None in the admin. Behind a link, filters are limited to the dimensions that the page
    shows, because others would reveal what it does not show.
    """
    zone = selectors.get_settings(site).timezone
    parameters: QueryDict = request.GET
    error = ""
    try:
        parsed_query, compare = _parse_request(request, site, zone, now)
        is_hidden = any(item.dimension not in PANEL_DIMENSIONS for item in parsed_query.filters)
        if fixed_filters is not None and is_hidden:
            raise Invalid([FieldProblem("", "query_filter", "This filter is not available on this page.")])
    except Invalid as refusal:
        error = refusal.errors[0].detail
        parameters = QueryDict()
        parsed_query, compare = _parse_request(HttpRequest(), site, zone, now)
    metric = parameters.get("measure", "")
    return DashboardState(
        replace(parsed_query, fixed_filters=fixed_filters or ()),
        parameters,
        compare,
        metric if metric in METRIC_LABELS else "visitors",
        error,
        is_shared=fixed_filters is not None,
    )


def _parse_request(request: HttpRequest, site: Site, zone: str, now: datetime) -> tuple[Query, str]:
    drf_request = Request(request)
    parsed_query = parse_query(drf_request, site_number=site.number, zone=zone, now=now)
    return parsed_query, parse_compare(drf_request) or "previous"


def build_dashboard_context(state: DashboardState, site: Site, *, now: datetime) -> dict[str, Any]:
    """The context of `analytics/dashboard.html`.

    Needs a transaction, and a tenancy context that may read the site.
    """
    date_range = state.query.date_range
    compared = query.comparison_query(state.query, state.compare)
    interval = _choose_interval((date_range.last - date_range.first).days + 1)
    # Annotations are internal to the people who work on the site, so shared links do not show them.
    notes = [] if state.is_shared else selectors.list_annotations_and_releases(site, date_range)
    goals = _goals(state.query, site)
    funnels = _funnels(state.query, site)
    return {
        "site": site,
        "state": state,
        "date_range": date_range,
        "sampled_share": query.sampled_share(state.query, reads_events=bool(goals or funnels)),
        "periods": _period_links(state),
        "comparisons": [
            {"label": label, "link": state.link(compare=name), "selected": state.compare == name}
            for name, label in COMPARISON_LABELS.items()
        ],
        "filters": _filter_links(state),
        "tiles": _metric_tiles(state, query.summary(state.query), query.summary(compared)),
        "chart": charts.line_chart(
            query.timeseries(state.query, interval),
            query.timeseries(compared, interval),
            metric=state.metric,
            label=METRIC_LABELS[state.metric],
            interval=interval,
            notes=notes,
            now=now,
        ),
        "panels": [_panel(state, name, _visible_tabs(state, tabs)) for name, tabs in PANELS.items()],
        "goals": goals,
        "funnels": funnels,
        "notes": notes,
        **_unfiltered_context(state, site, now=now),
    }


def _choose_interval(days: int) -> str:
    if days <= 2:
        return "hour"
    if days <= 92:
        return "day"
    return "week" if days <= 366 else "month"


def _unfiltered_context(state: DashboardState, site: Site, *, now: datetime) -> dict[str, Any]:
    """Current visitors and dropped events.

    They cannot be filtered, so a filtered page leaves them out: a shared link must not show what its fixed
    filters exclude.
    """
    if state.query.is_filtered:
        return {"current_visitors": None, "current_pages": [], "drops": []}
    visitors, pages = event_sql.count_current_visitors(site.number, since=now - CURRENT_VISITORS_WINDOW)
    return {
        "current_visitors": visitors,
        "current_pages": pages,
        "drops": [
            {"text": DROP_REASON_LABELS.get(drop["reason"], drop["reason"]), "count": drop["count"]}
            for drop in selectors.count_drops_by_reason(state.query.date_range)
        ],
    }


def _period_links(state: DashboardState) -> list[dict[str, Any]]:
    current = state.parameters.get("period", "30d")
    has_dates = "from" in state.parameters
    return [
        {
            "label": label,
            "link": state.link(period=name, **{"from": None, "to": None}),
            "selected": not has_dates and current == name and name in DAYS_BY_PERIOD,
        }
        for name, label in PERIOD_LABELS.items()
    ]


def _filter_links(state: DashboardState) -> list[dict[str, str]]:
    """The filters of the query string, each with the link that removes it."""
    texts = state.parameters.getlist("filter")
    return [
        {
            "label": charts.filter_label(item, DIMENSION_LABELS),
            "link": state.link_without_filter(str(item)),
        }
        for item in state.query.filters
        if str(item) in texts
    ]


def _metric_tiles(
    state: DashboardState, current: dict[str, Any], previous: dict[str, Any]
) -> list[dict[str, Any]]:
    """The metrics of the range with their change; each is a link that draws its chart."""
    return [
        {
            "label": label,
            "value": charts.format_metric(name, current[name]),
            "change": charts.format_change(current[name], previous[name]),
            "previous": charts.format_metric(name, previous[name]),
            "link": state.link(measure=name),
            "selected": state.metric == name,
        }
        for name, label in METRIC_LABELS.items()
    ]


def _panel(state: DashboardState, name: str, tabs: dict[str, str]) -> dict[str, Any]:
    """The largest values of the selected dimension of a panel; each is a link that filters by it."""
    dimension = state.parameters.get(name, "")
    if dimension not in tabs:
        dimension = next(iter(tabs))
    rows, value_count = query.breakdown(state.query, dimension, limit=MAX_PANEL_ROWS)
    unit = "events" if dimension == "event" else "visitors"
    highest = max((row[unit] for row in rows), default=0) or 1
    return {
        "name": name,
        "title": tabs[dimension],
        "unit": unit,
        "tabs": [
            {
                "label": label,
                "link": state.link(**{name: tab}) + f"#{name}",
                "selected": tab == dimension,
            }
            for tab, label in tabs.items()
        ],
        "hidden_count": value_count - len(rows),
        "rows": [
            {
                "text": charts.value_label(dimension, row["value"]),
                "count": row[unit],
                "width": round(100 * row[unit] / highest, 1),
                "link": _value_link(state, dimension, row["value"]),
            }
            for row in rows
        ],
    }


def _visible_tabs(state: DashboardState, tabs: dict[str, str]) -> dict[str, str]:
    """The tabs without entry and exit pages where a link is limited to some pages or events."""
    if any(item.dimension in EVENT_DIMENSIONS for item in state.query.fixed_filters):
        return {name: label for name, label in tabs.items() if name not in {"entry_page", "exit_page"}}
    return tabs


def _value_link(state: DashboardState, dimension: str, value: str | None) -> str:
    """The link that filters by a value; empty for values that a filter cannot express."""
    if not value or value == "(other)" or "|" in value:
        return ""
    return state.link_with_filter(f"{dimension}:is:{value}")


def _goals(report_query: Query, site: Site) -> list[dict[str, Any]]:
    goals = list(Definition.objects.filter(site=site, kind="goal").order_by("name")[:MAX_GOALS_OR_FUNNELS])
    conversions = query.goal_conversions(report_query, [parse_conditions(goal) for goal in goals])
    return [
        {"name": goal.name, "rate": charts.format_percent(metrics["conversion_rate"]), **metrics}
        for goal, metrics in zip(goals, conversions, strict=True)
    ]


def _funnels(report_query: Query, site: Site) -> list[dict[str, Any]]:
    rows = Definition.objects.filter(site=site, kind="funnel").order_by("name")[:MAX_GOALS_OR_FUNNELS]
    return [{"name": row.name, "steps": _funnel_steps(report_query, parse_conditions(row))} for row in rows]


def _funnel_steps(report_query: Query, filters: tuple[Filter, ...]) -> list[dict[str, Any]]:
    """The steps of a funnel, each with the number of visitors lost since the step before."""
    steps = query.funnel(report_query, filters)
    return [
        {
            **step,
            "text": charts.filter_label(item, DIMENSION_LABELS),
            "width": round(100 * (step["rate"] or 0), 1),
            "percent": charts.format_percent(step["rate"]),
            "lost": previous["visitors"] - step["visitors"],
        }
        for item, step, previous in zip(filters, steps, [steps[0], *steps], strict=False)
    ]
