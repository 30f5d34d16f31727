"""A site's numbers as one page, made whole on the server: for the admin, and for whoever has a link.

Everything that can be chosen is a link.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, QueryDict
from rest_framework.request import Request

from analytics import services
from analytics.models import Definition
from analytics.reports import charts, query, sql_store
from analytics.reports.filters import OF_EVENTS, Filter, conditions_of
from analytics.reports.query import Query
from analytics.reports.query_params import PERIODS, read_compare, read_query
from core.errors import FieldProblem, Invalid
from sites.models import Site

PRESENT = timedelta(minutes=5)
LISTED = 10
MEASURES = {
    "visitors": "Visitors",
    "visits": "Visits",
    "pageviews": "Page views",
    "views_per_visit": "Views per visit",
    "bounce_rate": "Bounce rate",
    "visit_duration": "Visit duration",
}
SPANS = {"today": "Today", "7d": "7 days", "30d": "30 days", "90d": "90 days", "12m": "12 months"}
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
NAMES = {name: label[:-1] for tabs in PANELS.values() for name, label in tabs.items()} | {
    "entry_page": "Entry page",
    "exit_page": "Exit page",
    "country": "Country",
    "utm_medium": "Medium",
}
SHOWN = {name for tabs in PANELS.values() for name in tabs}
MOST = 10  # goals and funnels on the page: each is a question of its own
CHOICES = {"period", "from", "to", "filter", "compare", "measure", *PANELS}
DROPPED = {
    "bot": "crawlers and browsers without a screen",
    "prefetch": "pages that were only fetched ahead",
    "duplicate": "sent twice",
    "other_host": "sent from another host",
    "invalid": "not understood",
    "signal": "asked not to be tracked",
    "disabled": "counting was switched off",
    "shed": "how long a page was looked at, in a rush",
    "alone": "without a page view before",
    "too_many": "more than 20 at once",
    "too_old": "older than 7 days",
    "too_new": "from the future",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody chose, in the address of the page."""

    query: Query
    given: QueryDict
    compare: str
    measure: str
    wrong: str = ""
    shared: bool = False

    def link(self, **changes: str | None) -> str:
        """The same page with other choices; None takes one away. Filters stay."""
        kept = {
            name: value
            for name, value in self.given.items()
            if name in CHOICES and name not in {"filter", *changes}
        }
        chosen = [*kept.items(), *((name, value) for name, value in changes.items() if value is not None)]
        return "?" + urlencode([*chosen, *(("filter", text) for text in self.given.getlist("filter"))])

    def with_filter(self, text: str) -> str:
        return (
            f"{self.link()}&{urlencode({'filter': text})}"
            if text not in self.given.getlist("filter")
            else self.link()
        )

    def without_filter(self, text: str) -> str:
        left = self.given.copy()
        left.setlist("filter", [one for one in self.given.getlist("filter") if one != text])
        return replace(self, given=left).link()


def read(
    request: HttpRequest, site: Site, *, frozen: tuple[Filter, ...] | None = None, now: datetime
) -> Asked:
    """What an address asks for.

    One that makes no sense shows the last 30 days, and says so. Behind a link, which has what is `frozen`,
    nobody filters by what the page does not show.
    """
    zone = services.settings_of(site).timezone
    given: QueryDict = request.GET
    wrong = ""
    try:
        asked, compare = _read(request, site, zone, now)
        if frozen is not None and any(one.dimension not in SHOWN for one in asked.filters):
            raise Invalid([FieldProblem("", "query_filter", "This page has no such filter.")])
    except Invalid as refusal:
        wrong = refusal.errors[0].detail
        given = QueryDict()
        asked, compare = _read(HttpRequest(), site, zone, now)
    measure = given.get("measure", "")
    narrowed = replace(asked, frozen=frozen or ())
    return Asked(
        narrowed,
        given,
        compare,
        measure if measure in MEASURES else "visitors",
        wrong,
        shared=frozen is not None,
    )


def _read(request: HttpRequest, site: Site, zone: str, now: datetime) -> tuple[Query, str]:
    wrapped = Request(request)
    return read_query(wrapped, site=site.number, zone=zone, now=now), read_compare(wrapped) or "previous"


def dashboard(asked: Asked, site: Site, *, now: datetime) -> dict[str, Any]:
    """What the template shows. In a transaction and a context that may read the site."""
    given = asked.query
    other = query.before(given, asked.compare)
    days = (given.span.last - given.span.first).days + 1
    interval = "hour" if days <= 2 else "day" if days <= 92 else "week" if days <= 366 else "month"
    notes = [] if asked.shared else services.notes(site, given.span)  # what people write for each other
    goals = list(Definition.objects.filter(site=site, kind="goal").order_by("name")[:MOST])
    funnels = list(Definition.objects.filter(site=site, kind="funnel").order_by("name")[:MOST])
    reached = query.goals(given, [conditions_of(row) for row in goals])
    whole = (
        not given.narrow
    )  # what is not by visit cannot be filtered, and must not show what a link keeps back
    present, pages = sql_store.present(site.number, since=now - PRESENT) if whole else (None, [])
    return {
        "site": site,
        "asked": asked,
        "span": given.span,
        "sample": query.share(given, raw=bool(goals or funnels)),
        "spans": [
            {
                "label": label,
                "link": asked.link(period=name, **{"from": None, "to": None}),
                "chosen": _chosen(asked, name),
            }
            for name, label in SPANS.items()
        ],
        "compares": [
            {"label": label, "link": asked.link(compare=name), "chosen": asked.compare == name}
            for name, label in {"previous": "the days before", "year": "a year ago"}.items()
        ],
        "filters": [
            {"label": charts.filter_label(one, NAMES), "link": asked.without_filter(str(one))}
            for one in given.filters
            if str(one) in asked.given.getlist("filter")
        ],
        "tiles": _tiles(asked, query.summary(given), query.summary(other)),
        "chart": charts.lines(
            query.timeseries(given, interval),
            query.timeseries(other, interval),
            measure=asked.measure,
            label=MEASURES[asked.measure],
            interval=interval,
            notes=notes,
            now=now,
        ),
        "panels": [_panel(asked, name, _tabs(asked, tabs)) for name, tabs in PANELS.items()],
        "goals": [
            {"name": row.name, "rate": charts.percent(one["conversion_rate"]), **one}
            for row, one in zip(goals, reached, strict=True)
        ],
        "funnels": [{"name": row.name, "steps": _steps(given, conditions_of(row))} for row in funnels],
        "present": present,
        "present_pages": pages,
        "drops": [
            {"text": DROPPED.get(one["reason"], one["reason"]), "count": one["count"]}
            for one in services.drops_of(given.span)
            if whole
        ],
        "notes": notes,
    }


def _chosen(asked: Asked, period: str) -> bool:
    return "from" not in asked.given and asked.given.get("period", "30d") == period and period in PERIODS


def _tiles(asked: Asked, now: dict[str, Any], before: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics, each a link that draws it, with how they differ from the days they are compared with."""
    return [
        {
            "label": label,
            "value": charts.shown(name, now[name]),
            "change": charts.change(now[name], before[name]),
            "before": charts.shown(name, before[name]),
            "link": asked.link(measure=name),
            "chosen": asked.measure == name,
        }
        for name, label in MEASURES.items()
    ]


def _panel(asked: Asked, name: str, tabs: dict[str, str]) -> dict[str, Any]:
    """The largest slices of one dimension; each is a link that filters by it."""
    dimension = asked.given.get(name, "")
    dimension = dimension if dimension in tabs else next(iter(tabs))
    rows, count = query.breakdown(asked.query, dimension, limit=LISTED)
    counted = "events" if dimension == "event" else "visitors"
    most = max((row[counted] for row in rows), default=0) or 1
    return {
        "name": name,
        "title": tabs[dimension],
        "counted": counted,
        "tabs": [
            {"label": label, "link": asked.link(**{name: each}) + f"#{name}", "chosen": each == dimension}
            for each, label in tabs.items()
        ],
        "more": count - len(rows),
        "rows": [
            {
                "text": charts.value_label(dimension, row["value"]),
                "count": row[counted],
                "width": round(100 * row[counted] / most, 1),
                "link": asked.with_filter(f"{dimension}:is:{row['value']}")
                if _filterable(row["value"])
                else "",
            }
            for row in rows
        ],
    }


def _tabs(asked: Asked, tabs: dict[str, str]) -> dict[str, str]:
    """Without the first and last pages of visits where a link shows some pages only."""
    if any(one.dimension in OF_EVENTS for one in asked.query.frozen):
        return {name: label for name, label in tabs.items() if name not in {"entry_page", "exit_page"}}
    return tabs


def _filterable(value: str | None) -> bool:
    return bool(value) and value != "(other)" and "|" not in str(value)


def _steps(given: Query, steps: tuple[Filter, ...]) -> list[dict[str, Any]]:
    """A funnel's steps, with how many were lost on the way to each."""
    counted = query.funnel(given, steps)
    return [
        {
            **one,
            "text": charts.filter_label(step, NAMES),
            "width": round(100 * (one["rate"] or 0), 1),
            "shown": charts.percent(one["rate"]),
            "lost": before["visitors"] - one["visitors"],
        }
        for step, one, before in zip(steps, counted, [counted[0], *counted], strict=False)
    ]
