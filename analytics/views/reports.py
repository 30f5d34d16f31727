"""HTTP API of reports, as JSON and as CSV."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from analytics import selectors
from analytics.models import Definition
from analytics.permissions import ANALYTICS_READ
from analytics.reports import event_sql, query
from analytics.reports.filters import Filter, parse_conditions
from analytics.reports.query import Query
from analytics.reports.query_params import (
    COMPARE_PARAMETER,
    DATE_PARAMETERS,
    DIMENSION_PARAMETER,
    FORMAT_PARAMETER,
    GOAL_PARAMETER,
    INTERVAL_PARAMETER,
    LIMIT_PARAMETER,
    RANGE_PARAMETERS,
    SEGMENT_PARAMETER,
    parse_compare,
    parse_dimension,
    parse_interval,
    parse_limit,
    parse_query,
    refuse_unknown_parameters,
)
from analytics.reports.sql_fragments import report_deadline
from analytics.serializers.reports import (
    BreakdownSerializer,
    ConversionsSerializer,
    DropsSerializer,
    FunnelReportSerializer,
    RealtimeSerializer,
    SummarySerializer,
    TimeseriesSerializer,
)
from analytics.views.csv_renderer import CsvRenderer
from analytics.views.headers import PRIVATE_CACHE_HEADERS
from core.admission.costs import expensive_work
from core.http.action_policy import action_policy
from core.http.query_params import query_param
from core.http.responses import JSONRenderer
from sites.viewsets import Role, SiteScopedViewSet

QUERY_PARAMETERS = {"period", "from", "to", "filter", "segment"}
# Daily sums cannot answer these.
EXPENSIVE_PARAMETERS = {"filter", "segment", "goal"}
EXPENSIVE_ACTIONS = {"conversions", "funnel"}
REPORT_SECONDS = 10.0
CURRENT_VISITORS_WINDOW = timedelta(minutes=5)


class ReportViewSet(SiteScopedViewSet):
    """Reports on the visits of one site."""

    renderer_classes = [JSONRenderer, CsvRenderer]

    def run(self, handle: Callable[[], HttpResponse]) -> HttpResponse:
        """As in the base class.

        A report that reads events, and not only their daily sums, is expensive work.
        """
        if (
            self.action not in EXPENSIVE_ACTIONS
            and not EXPENSIVE_PARAMETERS & self.request.query_params.keys()
        ):
            return super().run(handle)
        with expensive_work(self.request), report_deadline(REPORT_SECONDS):
            return super().run(handle)

    def parse_query(self, *parameters: str) -> Query:
        """The query of the request, with the filters of its segment and the conditions of its goal.

        `parameters` are allowed in addition to `QUERY_PARAMETERS`. Raises Invalid, Http404, RoleTooLow.
        """
        refuse_unknown_parameters(self.request, QUERY_PARAMETERS | set(parameters))
        site = self.site()
        zone = selectors.get_settings(site).timezone
        parsed_query = parse_query(self.request, site_number=site.number, zone=zone, now=timezone.now())
        has_segment = "segment" in self.request.query_params
        has_goal = "goal" in parameters and "goal" in self.request.query_params
        segment = self.load_conditions(site, "segment") if has_segment else ()
        goal = self.load_conditions(site, "goal") if has_goal else ()
        return replace(parsed_query, filters=parsed_query.filters + segment, goal=goal)

    def load_conditions(self, site: Any, kind: str) -> tuple[Filter, ...]:
        """The conditions of the segment or goal that a parameter names. Raises Invalid, Http404."""
        row = get_object_or_404(Definition, site=site, kind=kind, pk=query_param(self.request, kind, UUID))
        return parse_conditions(row)

    def comparison_query(self, report_query: Query) -> Query | None:
        """The query to compare with, or None. Raises Invalid."""
        compare = parse_compare(self.request)
        return query.comparison_query(report_query, compare) if compare else None

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_summary",
        parameters=[
            *RANGE_PARAMETERS,
            SEGMENT_PARAMETER,
            GOAL_PARAMETER,
            COMPARE_PARAMETER,
            FORMAT_PARAMETER,
        ],
        responses=SummarySerializer,
    )
    def summary(self, request: Request, pk: Any) -> Response:
        """The metrics of a range of days."""
        report_query = self.parse_query("compare", "goal")
        other_query = self.comparison_query(report_query)
        compared = query.summary(other_query) if other_query else None
        report = {
            "range": _describe_range(report_query),
            "sample": query.sampled_share(report_query),
            "metrics": query.summary(report_query),
            "compared": compared,
        }
        return Response(report, headers=PRIVATE_CACHE_HEADERS)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_timeseries",
        parameters=[
            *RANGE_PARAMETERS,
            SEGMENT_PARAMETER,
            GOAL_PARAMETER,
            INTERVAL_PARAMETER,
            COMPARE_PARAMETER,
            FORMAT_PARAMETER,
        ],
        responses=TimeseriesSerializer,
    )
    def timeseries(self, request: Request, pk: Any) -> Response:
        """The metrics of each interval of a range, including empty ones."""
        report_query = self.parse_query("compare", "interval", "goal")
        interval = parse_interval(request, report_query)
        other_query = self.comparison_query(report_query)
        compared = query.timeseries(other_query, interval) if other_query else None
        report = {
            "range": _describe_range(report_query),
            "sample": query.sampled_share(report_query, reads_events=interval == "minute"),
            "interval": interval,
            "results": query.timeseries(report_query, interval),
            "compared": compared,
        }
        return Response(report, headers=PRIVATE_CACHE_HEADERS)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_breakdown",
        parameters=[
            *RANGE_PARAMETERS,
            SEGMENT_PARAMETER,
            GOAL_PARAMETER,
            DIMENSION_PARAMETER,
            LIMIT_PARAMETER,
            FORMAT_PARAMETER,
        ],
        responses=BreakdownSerializer,
    )
    def breakdown(self, request: Request, pk: Any) -> Response:
        """The metrics by page, source, country or another dimension, the largest values first."""
        report_query = self.parse_query("dimension", "limit", "goal")
        dimension, property_name = parse_dimension(request)
        rows, count = query.breakdown(
            report_query, dimension, property_name=property_name, limit=parse_limit(request)
        )
        report = {
            "range": _describe_range(report_query),
            "sample": query.sampled_share(report_query, reads_events=bool(property_name)),
            "dimension": f"{dimension}:{property_name}" if property_name else dimension,
            "count": count,
            "results": rows,
        }
        return Response(report, headers=PRIVATE_CACHE_HEADERS)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_conversions",
        parameters=[*RANGE_PARAMETERS, SEGMENT_PARAMETER, FORMAT_PARAMETER],
        responses=ConversionsSerializer,
    )
    def conversions(self, request: Request, pk: Any) -> Response:
        """How often each goal was reached, by how many visitors, and its revenue."""
        report_query = self.parse_query()
        goals = list(Definition.objects.filter(site=self.site(), kind="goal").order_by("name"))
        conversions = query.goal_conversions(report_query, [parse_conditions(goal) for goal in goals])
        report = {
            "range": _describe_range(report_query),
            "sample": query.sampled_share(report_query, reads_events=True),
            "results": [
                {"id": goal.pk, "name": goal.name, **metrics}
                for goal, metrics in zip(goals, conversions, strict=True)
            ],
        }
        return Response(report, headers=PRIVATE_CACHE_HEADERS)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_funnel",
        parameters=[*RANGE_PARAMETERS, SEGMENT_PARAMETER, FORMAT_PARAMETER],
        responses=FunnelReportSerializer,
    )
    def funnel(self, request: Request, pk: Any, funnel: Any) -> Response:
        """How many visitors took each step of a funnel, in order and within a day."""
        report_query = self.parse_query()
        definition = get_object_or_404(Definition, site=self.site(), kind="funnel", pk=funnel)
        steps = query.funnel(report_query, parse_conditions(definition))
        report = {
            "range": _describe_range(report_query),
            "sample": query.sampled_share(report_query, reads_events=True),
            "name": definition.name,
            "results": steps,
        }
        return Response(report, headers=PRIVATE_CACHE_HEADERS)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_realtime", responses=RealtimeSerializer)
    def realtime(self, request: Request, pk: Any) -> Response:
        """The visitors of the last five minutes, and the pages that most of them view."""
        refuse_unknown_parameters(request, set())
        visitors, pages = event_sql.count_current_visitors(
            self.site().number, since=timezone.now() - CURRENT_VISITORS_WINDOW
        )
        results = [{"page": page, "visitors": count} for page, count in pages]
        return Response({"visitors": visitors, "pages": results}, headers=PRIVATE_CACHE_HEADERS)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_drops", parameters=DATE_PARAMETERS, responses=DropsSerializer)
    def drops(self, request: Request, pk: Any) -> Response:
        """How many events were not counted, by reason."""
        report_query = self.parse_query()
        drops = selectors.count_drops_by_reason(report_query.date_range)
        return Response(
            {"range": _describe_range(report_query), "results": drops}, headers=PRIVATE_CACHE_HEADERS
        )


def _describe_range(report_query: Query) -> dict[str, Any]:
    date_range = report_query.date_range
    return {"first": date_range.first, "last": date_range.last, "timezone": date_range.zone}
