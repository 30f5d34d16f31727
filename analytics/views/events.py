"""HTTP API of single events: those that are stored, and those that servers send."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from analytics import selectors, services
from analytics.permissions import ANALYTICS_READ, EVENTS_WRITE
from analytics.reports import event_sql
from analytics.reports.event_sql import COLUMN_BY_EVENT_FIELD
from analytics.reports.query_params import (
    BEFORE_PARAMETER,
    DATE_PARAMETERS,
    EVENTS_LIMIT_PARAMETER,
    FORMAT_PARAMETER,
    parse_query,
    refuse_unknown_parameters,
)
from analytics.serializers.reports import (
    AcceptedSerializer,
    EventSerializer,
    RawEventsSerializer,
)
from analytics.time_zones import day_bounds
from analytics.views.csv_renderer import BYTE_ORDER_MARK, CsvRenderer, escape_formula
from analytics.views.headers import PRIVATE_CACHE_HEADERS
from core.errors import FieldProblem, Invalid
from core.http.action_policy import action_policy
from core.http.query_params import integer_param, query_param
from core.http.responses import JSONRenderer
from core.times import parse_time
from sites.viewsets import Role, SiteScopedViewSet

MAX_EVENTS_PER_REQUEST = 100
CSV_BATCH_EVENTS = 5_000


class RawEventsViewSet(SiteScopedViewSet):
    """Reads the stored events of one site."""

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
        zone = selectors.get_settings(site).timezone
        date_range = parse_query(request, site_number=site.number, zone=zone, now=timezone.now()).date_range
        since, until = day_bounds(date_range.first, date_range.last, date_range.zone)
        if request.accepted_renderer.format == "csv":
            filename = f"events-{date_range.first}-{date_range.last}.csv"
            return StreamingHttpResponse(
                (lines.encode() for lines in _stream_csv(site.number, since, until)),
                content_type="text/csv; charset=utf-8",
                headers={
                    **PRIVATE_CACHE_HEADERS,
                    "Content-Disposition": f'attachment; filename="{filename}"',
                },
            )
        until = min(until, query_param(request, "before", parse_time) or until)
        limit = int(query_param(request, "limit", integer_param(1, 1000)) or 100)
        rows = event_sql.list_events(site.number, since, until, limit=limit, newest_first=True)
        next_url = None
        if len(rows) >= limit:
            oldest = rows[-1]["at"].isoformat()
            next_url = replace_query_param(request.build_absolute_uri(), "before", oldest)
        return Response({"results": rows, "next": next_url}, headers=PRIVATE_CACHE_HEADERS)


def _stream_csv(site_number: int, since: datetime, until: datetime) -> Iterator[str]:
    """All events of [since, until) as CSV text.

    They are read in batches, so that memory and transactions stay small however many events there are.
    """
    yield BYTE_ORDER_MARK + ",".join(COLUMN_BY_EVENT_FIELD) + "\r\n"
    while True:
        rows = event_sql.list_events(site_number, since, until, limit=CSV_BATCH_EVENTS)
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        for row in rows:
            row["properties"] = json.dumps(row["properties"]) if row["properties"] else ""
            writer.writerow([escape_formula(value) for value in row.values()])
        yield buffer.getvalue()
        if len(rows) < CSV_BATCH_EVENTS:
            return
        since = rows[-1]["at"] + timedelta(microseconds=1)


class EventsViewSet(SiteScopedViewSet):
    """Accepts events that servers send."""

    serializer_class = EventSerializer
    max_body_bytes = 512 * 1024

    @action_policy(
        scope=EVENTS_WRITE,
        role=Role.EDITOR,
        recent_proof=False,
        if_match=False,
        impersonation=False,
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
        return Response(
            {"accepted": accepted, "dropped": dict(outcomes)}, status=202, headers=PRIVATE_CACHE_HEADERS
        )
