"""API views of the audit trail and the server log."""

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.utils.functional import cached_property
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import Entry, LogLine
from audit.permissions import AUDIT_READ, LOGS_READ
from audit.selectors import (
    MAX_SEARCHED_ENTRIES,
    entries_visible_to,
    filter_created_between,
    personal_values_by_entry,
    search_entries,
    search_entries_visible_to,
)
from audit.serializers import EntrySerializer, LogLineSerializer
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.query_params import choice_param, query_param, text_param
from core.http.viewsets import ApiViewSet
from core.times import parse_time

TIME_RANGE_PARAMETERS = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Created at this time or later."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Created before this time."),
]
SEARCH_PARAMETER = OpenApiParameter("search", {"type": "string", "minLength": 1, "maxLength": 100})
ENTRY_SEARCH_PARAMETER = OpenApiParameter(
    "search",
    {"type": "string", "minLength": 1, "maxLength": 100},
    description=(
        f"Contained in the event, the facts or a personal value. Searches the newest {MAX_SEARCHED_ENTRIES:,}"
        " entries that `actor`, `subject`, `site`, `since` and `until` select."
    ),
)
ID_PARAMETERS = [OpenApiParameter(name, OpenApiTypes.UUID) for name in ("actor", "subject", "site")]
EVENT_PARAMETER = OpenApiParameter("event", {"type": "string", "minLength": 1, "maxLength": 100})
# Less severe lines are not stored, see core.observability.structured_logging.
LEVELS = ("warning", "error", "critical")
LEVEL_PARAMETER = OpenApiParameter("level", {"type": "string", "enum": list(LEVELS)})


class AuditViewSet(ApiViewSet):
    serializer_class = EntrySerializer
    pagination_class = KeysetPagination
    filters: ClassVar = ("event", "actor", "subject", "site", "since", "until", "search")

    @cached_property
    def reader(self) -> UUID | None:
        """The user who may see only their own entries; None with the permission `audit.read`."""
        return None if self.caller.may(AUDIT_READ) else self.caller.pk

    def get_queryset(self) -> QuerySet[Entry]:
        entries = Entry.objects.all()
        for name, field, parse in (
            ("actor", "actor_id", UUID),
            ("subject", "subject_id", UUID),
            ("site", "site_id", UUID),
        ):
            value = query_param(self.request, name, parse)
            if value is not None:
                entries = entries.filter(**{field: value})
        entries = filter_created_between(
            entries,
            query_param(self.request, "since", parse_time),
            query_param(self.request, "until", parse_time),
        )
        event = query_param(self.request, "event", text_param)
        text = query_param(self.request, "search", text_param)
        entries = self._visible(entries, text)
        return entries.filter(event=event) if event is not None else entries

    def _visible(self, entries: QuerySet[Entry], text: str | None) -> QuerySet[Entry]:
        """Keep the entries that the reader may see and that contain `text`, if it is not None."""
        if text is None:
            return entries if self.reader is None else entries & entries_visible_to(self.reader)
        if self.reader is None:
            return search_entries(entries, text)
        return search_entries_visible_to(self.reader, entries, text)

    @action_policy(scope=AUDIT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="list_audit",
        parameters=[EVENT_PARAMETER, *ID_PARAMETERS, *TIME_RANGE_PARAMETERS, ENTRY_SEARCH_PARAMETER],
        responses=EntrySerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """List audit entries, newest first: your own actions, and actions on your account and
        your sites.

        With the permission `audit.read` the list contains every entry. Without it the network from which
        others acted, such as staff, is left out.
        """
        page = self.paginate_queryset(self.get_queryset()) or []
        context = {
            **self.get_serializer_context(),
            "reader": self.reader,
            "personal": personal_values_by_entry(entry.pk for entry in page),
        }
        return self.get_paginated_response(EntrySerializer(page, many=True, context=context).data)


class LogViewSet(ApiViewSet):
    serializer_class = LogLineSerializer
    pagination_class = KeysetPagination
    filters: ClassVar = ("level", "since", "until", "search")

    def get_queryset(self) -> QuerySet[LogLine]:
        lines = LogLine.objects.all()
        if level := query_param(self.request, "level", choice_param(*LEVELS)):
            lines = lines.filter(level=level)
        if since := query_param(self.request, "since", parse_time):
            lines = lines.filter(created_at__gte=since)
        if until := query_param(self.request, "until", parse_time):
            lines = lines.filter(created_at__lt=until)
        text = query_param(self.request, "search", text_param)
        return lines.filter(message__icontains=text) if text else lines

    @action_policy(scope=LOGS_READ, role=LOGS_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="list_logs",
        parameters=[LEVEL_PARAMETER, *TIME_RANGE_PARAMETERS, SEARCH_PARAMETER],
        responses=LogLineSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """List warnings and errors of the server, newest first. Needs the permission `logs.read`."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(LogLineSerializer(page, many=True).data)

    @action_policy(scope=LOGS_READ, role=LOGS_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="log", responses=LogLineSerializer)
    def retrieve(self, request: Request, pk: UUID) -> Response:
        """Return one line of the server log. Needs the permission `logs.read`."""
        return Response(LogLineSerializer(self.get_object()).data)
