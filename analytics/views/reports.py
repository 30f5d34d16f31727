"""Reports of a site, over HTTP and as files; what its owner chose; and the way in for servers."""

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
from analytics.reports import query, sql_store
from analytics.reports.filters import Filter, conditions_of
from analytics.reports.query import Query
from analytics.reports.query_params import (
    BEFORE,
    COMPARE,
    CSV,
    DIMENSION,
    EVENTS_LIMIT,
    INTERVAL,
    LIMIT,
    NARROWED,
    RANGE,
    known,
    read_compare,
    read_dimension,
    read_interval,
    read_limit,
    read_query,
)
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
ASKED = {"period", "from", "to", "filter", "segment"}
MAX_BATCH = 100
PRESENT = timedelta(minutes=5)
BATCH = 5_000


# Of a file without rows.
COLUMNS = {
    "breakdown": ["value", *MetricsSerializer().fields],
    "drops": ["reason", "count"],
    "events": [*sql_store.EVENT],
    "conversions": ["id", "name", *ConversionSerializer().fields],
}


class CsvRenderer(renderers.BaseRenderer):
    """Rows of a report as RFC 4180 says.

    What a spreadsheet would take for a formula begins with an apostrophe.
    """

    media_type = "text/csv"
    format = "csv"
    charset = "utf-8"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        rows = data.get("results", [data.get("metrics") or {}])
        view = (renderer_context or {}).get("view")
        columns = [*rows[0]] if rows else COLUMNS.get(getattr(view, "action", ""), [])
        text = io.StringIO()
        writer = csv.DictWriter(text, columns or ["nothing"])
        writer.writeheader()
        writer.writerows({name: _harmless(value) for name, value in row.items()} for row in rows)
        return text.getvalue().encode()


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


REPORTS = ("summary", "timeseries", "breakdown", "conversions", "funnel", "realtime", "drops")


class ReportViewSet(SiteScopedViewSet):
    renderer_classes = [JSONRenderer, CsvRenderer]

    def query(self, *more: str) -> Query:
        """What is asked for, with what was saved under the names of a segment and a goal."""
        known(self.request, ASKED | set(more))
        site = self.site()
        zone = services.settings_of(site).timezone
        asked = read_query(self.request, site=site.number, zone=zone, now=timezone.now())
        segment = self.saved(site, "segment") if "segment" in self.request.query_params else ()
        goal = self.saved(site, "goal") if "goal" in more and "goal" in self.request.query_params else ()
        return replace(asked, filters=asked.filters + segment, goal=goal)

    def saved(self, site: Any, kind: str) -> tuple[Filter, ...]:
        """Raises Invalid, Http404."""
        row = get_object_or_404(Definition, site=site, kind=kind, pk=query_param(self.request, kind, UUID))
        return conditions_of(row)

    def compared(self, asked: Query) -> Query | None:
        wanted = read_compare(self.request)
        return query.before(asked, wanted) if wanted else None

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_summary",
        parameters=[*RANGE, *NARROWED, COMPARE, CSV],
        responses=SummarySerializer,
    )
    def summary(self, request: Request, pk: Any) -> Response:
        """The metrics of a range of days."""
        asked = self.query("compare", "goal")
        other = self.compared(asked)
        compared = query.summary(other) if other else None
        facts = {"range": _range(asked), "sample": query.share(asked), "metrics": query.summary(asked)}
        return Response({**facts, "compared": compared}, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_timeseries",
        parameters=[*RANGE, *NARROWED, INTERVAL, COMPARE, CSV],
        responses=TimeseriesSerializer,
    )
    def timeseries(self, request: Request, pk: Any) -> Response:
        """The metrics of each interval, empty ones too."""
        asked = self.query("compare", "interval", "goal")
        interval = read_interval(request, asked)
        other = self.compared(asked)
        compared = query.timeseries(other, interval) if other else None
        facts = {
            "range": _range(asked),
            "sample": query.share(asked, raw=interval == "minute"),
            "interval": interval,
        }
        facts["results"] = query.timeseries(asked, interval)
        return Response({**facts, "compared": compared}, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_breakdown",
        parameters=[*RANGE, *NARROWED, DIMENSION, LIMIT, CSV],
        responses=BreakdownSerializer,
    )
    def breakdown(self, request: Request, pk: Any) -> Response:
        """The metrics by page, source, country and so on, largest first."""
        asked = self.query("dimension", "limit", "goal")
        dimension, prop = read_dimension(request)
        rows, count = query.breakdown(asked, dimension, prop=prop, limit=read_limit(request))
        name = f"{dimension}:{prop}" if prop else dimension
        facts = {"range": _range(asked), "sample": query.share(asked, raw=bool(prop)), "dimension": name}
        return Response({**facts, "count": count, "results": rows}, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_conversions",
        parameters=[*RANGE, NARROWED[0], CSV],
        responses=ConversionsSerializer,
    )
    def conversions(self, request: Request, pk: Any) -> Response:
        """How often each goal was reached, and what that brought."""
        asked = self.query()
        rows = list(Definition.objects.filter(site=self.site(), kind="goal").order_by("name"))
        found = query.goals(asked, [conditions_of(row) for row in rows])
        results = [{"id": row.pk, "name": row.name, **one} for row, one in zip(rows, found, strict=True)]
        facts = {"range": _range(asked), "sample": query.share(asked, raw=True), "results": results}
        return Response(facts, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_funnel",
        parameters=[*RANGE, NARROWED[0], CSV],
        responses=FunnelReportSerializer,
    )
    def funnel(self, request: Request, pk: Any, funnel: Any) -> Response:
        """Who took all steps of a funnel in order, within a day."""
        asked = self.query()
        row = get_object_or_404(Definition, site=self.site(), kind="funnel", pk=funnel)
        steps = query.funnel(asked, conditions_of(row))
        facts = {
            "range": _range(asked),
            "sample": query.share(asked, raw=True),
            "name": row.name,
            "results": steps,
        }
        return Response(facts, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_realtime", responses=RealtimeSerializer)
    def realtime(self, request: Request, pk: Any) -> Response:
        """Who is there now, and where."""
        known(request, set())
        visitors, pages = sql_store.present(self.site().number, since=timezone.now() - PRESENT)
        shown = [{"page": page, "visitors": count} for page, count in pages]
        return Response({"visitors": visitors, "pages": shown}, headers=PRIVATE)

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_drops", parameters=RANGE[:3], responses=DropsSerializer)
    def drops(self, request: Request, pk: Any) -> Response:
        """What was not counted, and why."""
        asked = self.query()
        return Response({"range": _range(asked), "results": services.drops_of(asked.span)}, headers=PRIVATE)


def _range(asked: Query) -> dict[str, Any]:
    return {"first": asked.span.first, "last": asked.span.last, "timezone": asked.span.zone}


class SettingsViewSet(SiteScopedViewSet):
    serializer_class = SettingsSerializer

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(operation_id="analytics_settings", responses=SettingsSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Whether visits are counted, in which time zone, and for how long their events are kept."""
        return Response(SettingsSerializer(services.settings_of(self.site())).data, headers=PRIVATE)

    @action_policy(scope=None, role=Role.EDITOR, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="change_analytics_settings", request=SettingsSerializer, responses=SettingsSerializer
    )
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Choose anew. Another time zone holds from now on; days before keep the visitors that they had."""
        site = self.site()
        row: Settings = services.change_settings(
            site, self.validated(SettingsSerializer, partial=True), actor=self.actor
        )
        return Response(SettingsSerializer(row).data, headers=PRIVATE)


class RawEventsViewSet(SiteScopedViewSet):
    renderer_classes = [JSONRenderer, CsvRenderer]

    @action_policy(
        scope=ANALYTICS_READ, role=Role.VIEWER, recent_proof=False, if_match=False, impersonation=True
    )
    @extend_schema(
        operation_id="analytics_events",
        parameters=[*RANGE[:3], BEFORE, EVENTS_LIMIT, CSV],
        responses=RawEventsSerializer,
    )
    def events(self, request: Request, pk: Any) -> Response | StreamingHttpResponse:
        """Events as they are stored, newest first, `next` of them older; as CSV all of the range, oldest
        first.
        """
        known(request, {"period", "from", "to", "before", "limit"})
        site = self.site()
        zone = services.settings_of(site).timezone
        span = read_query(request, site=site.number, zone=zone, now=timezone.now()).span
        since = span.bounds["since"]
        until = span.bounds["until"]
        if request.accepted_renderer.format == "csv":
            lines = (line.encode() for line in _lines(site.number, since, until))
            headers = {
                **PRIVATE,
                "Content-Disposition": f'attachment; filename="events-{span.first}-{span.last}.csv"',
            }
            return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)
        until = min(until, query_param(request, "before", datetime_param) or until)
        limit = int(query_param(request, "limit", integer_param(1, 1000)) or 100)
        rows = sql_store.events(site.number, since, until, limit=limit, newest_first=True)
        older = None
        if len(rows) >= limit:
            older = replace_query_param(request.build_absolute_uri(), "before", rows[-1]["at"].isoformat())
        return Response({"results": rows, "next": older}, headers=PRIVATE)


def _lines(site: int, since: datetime, until: datetime) -> Iterator[str]:
    """A file of all events, read in batches, so that neither memory nor a transaction grows with it."""
    yield ",".join(sql_store.EVENT) + "\r\n"
    while True:
        rows = sql_store.events(site, since, until, limit=BATCH)
        text = io.StringIO()
        written = csv.writer(text)
        for row in rows:
            row["properties"] = json.dumps(row["properties"]) if row["properties"] else ""
            written.writerow([_harmless(value) for value in row.values()])
        yield text.getvalue()
        if len(rows) < BATCH:
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
        """Send what your server saw: up to 100 events, each up to 7 days old."""
        if not isinstance(request.data, list) or not 1 <= len(request.data) <= MAX_BATCH:
            raise Invalid([FieldProblem("", "batch", f"Send a list of 1 to {MAX_BATCH} events.")])
        site = self.site()
        bound = EventSerializer(data=request.data, many=True)
        bound.is_valid(raise_exception=True)
        outcome = services.take_events(site, bound.validated_data, now=timezone.now())
        accepted = outcome.pop("ok", 0)
        return Response({"accepted": accepted, "dropped": dict(outcome)}, status=202, headers=PRIVATE)
