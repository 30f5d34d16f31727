"""Reports of a site, over HTTP and as files; what its owner chose; and the way in for servers."""

import csv
import io
from datetime import timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import renderers
from rest_framework.request import Request
from rest_framework.response import Response

from analytics import query, services, store
from analytics.models import Settings
from analytics.parameters import (
    COMPARE,
    CSV,
    DIMENSION,
    INTERVAL,
    LIMIT,
    RANGE,
    known,
    read_compare,
    read_dimension,
    read_interval,
    read_limit,
    read_query,
)
from analytics.permissions import ANALYTICS_READ, EVENTS_WRITE
from analytics.query import Query
from analytics.serializers import (
    AcceptedSerializer,
    BreakdownSerializer,
    DropsSerializer,
    EventSerializer,
    MetricsSerializer,
    RealtimeSerializer,
    SettingsSerializer,
    SummarySerializer,
    TimeseriesSerializer,
)
from core.errors import FieldProblem, Invalid
from core.rendering import JSONRenderer
from sites.views.common import OfSiteViewSet, Role

PRIVATE = {"Cache-Control": "private, no-cache"}
ASKED = {"period", "from", "to", "filter"}
MAX_BATCH = 100
PRESENT = timedelta(minutes=5)


COLUMNS = {"breakdown": ["value", *MetricsSerializer().fields], "drops": ["reason", "count"]}  # of a file without rows


class CsvRenderer(renderers.BaseRenderer):
    """Rows of a report as RFC 4180 says. What a spreadsheet would take for a formula begins with an apostrophe."""

    media_type, format, charset = "text/csv", "csv", "utf-8"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
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


class ReportViewSet(OfSiteViewSet):
    renderer_classes = [JSONRenderer, CsvRenderer]
    scopes = dict.fromkeys(("summary", "timeseries", "breakdown", "realtime", "drops"), ANALYTICS_READ)
    needs = dict.fromkeys(("summary", "timeseries", "breakdown", "realtime", "drops"), Role.VIEWER)

    def query(self, *more: str) -> Query:
        known(self.request, ASKED | set(more))
        site = self.site()
        zone = services.settings_of(site).timezone
        return read_query(self.request, site=site.number, zone=zone, now=timezone.now())

    def compared(self, asked: Query) -> Query | None:
        wanted = read_compare(self.request)
        return query.before(asked, wanted) if wanted else None

    @extend_schema(operation_id="analytics_summary", parameters=[*RANGE, COMPARE, CSV], responses=SummarySerializer)
    def summary(self, request: Request, pk: Any) -> Response:
        """The metrics of a range of days."""
        asked = self.query("compare")
        other = self.compared(asked)
        compared = query.summary(other) if other else None
        return Response(
            {"range": _range(asked), "metrics": query.summary(asked), "compared": compared}, headers=PRIVATE
        )

    @extend_schema(
        operation_id="analytics_timeseries", parameters=[*RANGE, INTERVAL, COMPARE, CSV], responses=TimeseriesSerializer
    )
    def timeseries(self, request: Request, pk: Any) -> Response:
        """The metrics of each interval, empty ones too."""
        asked = self.query("compare", "interval")
        interval, other = read_interval(request, asked), self.compared(asked)
        compared = query.timeseries(other, interval) if other else None
        facts = {"range": _range(asked), "interval": interval, "results": query.timeseries(asked, interval)}
        return Response({**facts, "compared": compared}, headers=PRIVATE)

    @extend_schema(
        operation_id="analytics_breakdown", parameters=[*RANGE, DIMENSION, LIMIT, CSV], responses=BreakdownSerializer
    )
    def breakdown(self, request: Request, pk: Any) -> Response:
        """The metrics by page, source, country and so on, largest first."""
        asked = self.query("dimension", "limit")
        dimension, prop = read_dimension(request)
        rows, count = query.breakdown(asked, dimension, prop=prop, limit=read_limit(request))
        name = f"{dimension}:{prop}" if prop else dimension
        return Response({"range": _range(asked), "dimension": name, "count": count, "results": rows}, headers=PRIVATE)

    @extend_schema(operation_id="analytics_realtime", responses=RealtimeSerializer)
    def realtime(self, request: Request, pk: Any) -> Response:
        """Who is there now, and where."""
        known(request, set())
        visitors, pages = store.present(self.site().number, since=timezone.now() - PRESENT)
        shown = [{"page": page, "visitors": count} for page, count in pages]
        return Response({"visitors": visitors, "pages": shown}, headers=PRIVATE)

    @extend_schema(operation_id="analytics_drops", parameters=RANGE[:3], responses=DropsSerializer)
    def drops(self, request: Request, pk: Any) -> Response:
        """What was not counted, and why."""
        asked = self.query()
        return Response({"range": _range(asked), "results": services.drops_of(asked.span)}, headers=PRIVATE)


def _range(asked: Query) -> dict[str, Any]:
    return {"first": asked.span.first, "last": asked.span.last, "timezone": asked.span.zone}


class SettingsViewSet(OfSiteViewSet):
    serializer_class = SettingsSerializer
    scopes = {"retrieve": ANALYTICS_READ}
    needs = {"retrieve": Role.VIEWER, "partial_update": Role.EDITOR}

    @extend_schema(operation_id="analytics_settings", responses=SettingsSerializer)
    def retrieve(self, request: Request, pk: Any) -> Response:
        """Whether visits are counted, in which time zone, and for how long their events are kept."""
        return Response(SettingsSerializer(services.settings_of(self.site())).data, headers=PRIVATE)

    @extend_schema(operation_id="change_analytics_settings", request=SettingsSerializer, responses=SettingsSerializer)
    def partial_update(self, request: Request, pk: Any) -> Response:
        """Choose anew. Another time zone holds from now on; days before keep the visitors that they had."""
        site = self.site()
        row: Settings = services.change_settings(
            site, self.validated(SettingsSerializer, partial=True), actor=self.actor
        )
        return Response(SettingsSerializer(row).data, headers=PRIVATE)


class EventsViewSet(OfSiteViewSet):
    serializer_class = EventSerializer
    scopes = {"create": EVENTS_WRITE}
    needs = {"create": Role.EDITOR}
    with_list = ("create",)
    body_limit = 512 * 1024

    @extend_schema(operation_id="send_events", request=EventSerializer(many=True), responses={202: AcceptedSerializer})
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
