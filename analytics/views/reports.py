"""HTTP API of analytics: reports as JSON and CSV, settings, and events that servers send and read."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import renderers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from analytics import services
from analytics.models import Definition, Settings
from analytics.permissions import ANALYTICS_READ, EVENTS_WRITE
from analytics.reports import event_sql, query
from analytics.reports.event_sql import COLUMN_BY_EVENT_FIELD
from analytics.reports.filters import Filter, parse_conditions
from analytics.reports.query import Query
from analytics.reports.query_params import (
    BEFORE_PARAMETER,
    COMPARE_PARAMETER,
    DATE_PARAMETERS,
    DIMENSION_PARAMETER,
    EVENTS_LIMIT_PARAMETER,
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
from analytics.reports.time_zones import day_bounds
from analytics.serializers.reports import (
    AcceptedSerializer,
    BreakdownSerializer,
    ConversionSerializer,
    ConversionsSerializer,
    DropsSerializer,
    EventSerializer,
    FunnelReportSerializer,
    MetricsSerializer,
    RawEventsSerializer,
    RealtimeSerializer,
    SettingsSerializer,
    SummarySerializer,
    TimeseriesSerializer,
)
from core.errors import FieldProblem, Invalid
from core.http.action_policy import action_policy
from core.http.json_renderer import JSONRenderer
from core.http.query_params import datetime_param, integer_param, query_param
from sites.viewsets import Role, SiteScopedViewSet

PRIVATE = {"Cache-Control": "private, no-cache"}
QUERY_PARAMETERS = {"period", "from", "to", "filter", "segment"}
MAX_EVENTS_PER_REQUEST = 100
CURRENT_VISITORS_WINDOW = timedelta(minutes=5)
CSV_BATCH_EVENTS = 5_000
FORMULA_PREFIXES = {"=", "+", "-", "@", "\t", "\r"}

# The header of a CSV file without rows, by action.
CSV_COLUMNS = {
    "breakdown": ["value", *MetricsSerializer().fields],
    "drops": ["reason", "count"],
    "events": [*COLUMN_BY_EVENT_FIELD],
    "conversions": ["id", "name", *ConversionSerializer().fields],
}


class CsvRenderer(renderers.BaseRenderer):
    """Renders the rows of a report as CSV (RFC 4180).

    Texts that a spreadsheet would run as a formula get a leading apostrophe (OWASP, CSV injection).
    """

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        rows = data.get("results", [data.get("metrics") or {}])
        view = (renderer_context or {}).get("view")
        columns = [*rows[0]] if rows else CSV_COLUMNS.get(getattr(view, "action", ""), [])
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns or ["nothing"])
        writer.writeheader()
        writer.writerows({name: _escape_formula(value) for name, value in row.items()} for row in rows)
        return buffer.getvalue().encode()


def _escape_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in FORMULA_PREFIXES else value


class ReportViewSet(SiteScopedViewSet):
    renderer_classes = [JSONRenderer, CsvRenderer]

    def parse_query(self, *parameters: str) -> Query:
        """The query of the request, with the filters of its segment and the conditions of its goal.

        `parameters` are allowed in addition to `QUERY_PARAMETERS`. Raises Invalid, Http404, RoleTooLow.
        """
        refuse_unknown_parameters(self.request, QUERY_PARAMETERS | set(parameters))
        site = self.site()
        zone = services.get_settings(site).timezone
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
        return Response(report, headers=PRIVATE)

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
        return Response(report, headers=PRIVATE)

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
        return Response(report, headers=PRIVATE)

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
        return Response(report, headers=PRIVATE)

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
        return Response(report, headers=PRIVATE)

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
        return Response({"visitors": visitors, "pages": results}, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_drops", parameters=DATE_PARAMETERS, responses=DropsSerializer)
    def drops(self, request: Request, pk: Any) -> Response:
        """How many events were not counted, by reason."""
        report_query = self.parse_query()
        drops = services.count_drops_by_reason(report_query.date_range)
        return Response({"range": _describe_range(report_query), "results": drops}, headers=PRIVATE)


def _describe_range(report_query: Query) -> dict[str, Any]:
    date_range = report_query.date_range
    return {"first": date_range.first, "last": date_range.last, "timezone": date_range.zone}


class SettingsViewSet(SiteScopedViewSet):
    serializer_class = SettingsSerializer

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_settings", responses=SettingsSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Read whether visits are counted, in which time zone, and for how long events are kept."""
        return Response(SettingsSerializer(services.get_settings(self.site())).data, headers=PRIVATE)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="change_analytics_settings", request=SettingsSerializer, responses=SettingsSerializer
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Change the settings. A new time zone applies from now on; earlier days keep their visitors."""
        site = self.site()
        changes = self.validated(SettingsSerializer, partial=True)
        row: Settings = services.change_settings(site, changes, actor=self.actor)
        return Response(SettingsSerializer(row).data, headers=PRIVATE)


class RawEventsViewSet(SiteScopedViewSet):
    renderer_classes = [JSONRenderer, CsvRenderer]

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_events",
        parameters=[*DATE_PARAMETERS, BEFORE_PARAMETER, EVENTS_LIMIT_PARAMETER, FORMAT_PARAMETER],
        responses=RawEventsSerializer,
    )
    def events(self, request: Request, pk: Any) -> Response | StreamingHttpResponse:
        """The stored events of a range, the newest first; `next` is the URL of older ones.

        As CSV all events of the range, the oldest first.
        """
        refuse_unknown_parameters(request, {"period", "from", "to", "before", "limit"})
        site = self.site()
        zone = services.get_settings(site).timezone
        date_range = parse_query(request, site_number=site.number, zone=zone, now=timezone.now()).date_range
        since, until = day_bounds(date_range.first, date_range.last, date_range.zone)
        if request.accepted_renderer.format == "csv":
            filename = f"events-{date_range.first}-{date_range.last}.csv"
            return StreamingHttpResponse(
                (lines.encode() for lines in _stream_csv(site.number, since, until)),
                content_type="text/csv; charset=utf-8",
                headers={**PRIVATE, "Content-Disposition": f'attachment; filename="{filename}"'},
            )
        until = min(until, query_param(request, "before", datetime_param) or until)
        limit = int(query_param(request, "limit", integer_param(1, 1000)) or 100)
        rows = event_sql.list_events(site.number, since, until, limit=limit, newest_first=True)
        next_url = None
        if len(rows) >= limit:
            oldest = rows[-1]["at"].isoformat()
            next_url = replace_query_param(request.build_absolute_uri(), "before", oldest)
        return Response({"results": rows, "next": next_url}, headers=PRIVATE)


def _stream_csv(site_number: int, since: datetime, until: datetime) -> Iterator[str]:
    """All events of [since, until) as CSV text.

    They are read in batches, so that memory and transactions stay small however many events there are.
    """
    yield ",".join(COLUMN_BY_EVENT_FIELD) + "\r\n"
    while True:
        rows = event_sql.list_events(site_number, since, until, limit=CSV_BATCH_EVENTS)
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        for row in rows:
            row["properties"] = json.dumps(row["properties"]) if row["properties"] else ""
            writer.writerow([_escape_formula(value) for value in row.values()])
        yield buffer.getvalue()
        if len(rows) < CSV_BATCH_EVENTS:
            return
        since = rows[-1]["at"] + timedelta(microseconds=1)


class EventsViewSet(SiteScopedViewSet):
    serializer_class = EventSerializer
    max_body_bytes = 512 * 1024

    @action_policy(
        scope=EVENTS_WRITE,
        role=Role.EDITOR,
        recent_proof=False,
        if_match=False,
        impersonation=True,
        body="list",
    )
    @extend_schema(
        operation_id="send_events", request=EventSerializer(many=True), responses={202: AcceptedSerializer}
    )
    def create(self, request: Request, pk: Any) -> Response:
        """Send events that your server recorded: up to 100, each up to 7 days old."""
        items = request.data
        if not isinstance(items, list) or not 1 <= len(items) <= MAX_EVENTS_PER_REQUEST:
            detail = f"Send a list of 1 to {MAX_EVENTS_PER_REQUEST} events."
            raise Invalid([FieldProblem("", "batch", detail)])
        site = self.site()
        serializer = EventSerializer(data=items, many=True)
        serializer.is_valid(raise_exception=True)
        outcomes = services.ingest_server_events(site, serializer.validated_data, now=timezone.now())
        accepted = outcomes.pop("ok", 0)
        return Response({"accepted": accepted, "dropped": dict(outcomes)}, status=202, headers=PRIVATE)
