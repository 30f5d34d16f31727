"""The trail and the logs over HTTP."""

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit.models import Entry, LogLine
from audit.permissions import AUDIT_READ, LOGS_READ
from audit.selectors import between, entries_of, mentioning, personal_of
from audit.serializers import EntrySerializer, LogLineSerializer
from core.http.action_policy import SIGNED_IN, action_policy
from core.http.pagination import KeysetPagination
from core.http.query_params import datetime_param, query_param, text_param
from core.http.viewsets import ApiViewSet

TIMES = [
    OpenApiParameter("since", OpenApiTypes.DATETIME, description="Made at this moment or later."),
    OpenApiParameter("until", OpenApiTypes.DATETIME, description="Made before this moment."),
]
SEARCH = OpenApiParameter("search", {"type": "string", "minLength": 1, "maxLength": 100})
IDS = [OpenApiParameter(name, OpenApiTypes.UUID) for name in ("actor", "subject", "site")]
EVENT = OpenApiParameter("event", {"type": "string", "minLength": 1, "maxLength": 100})
LEVEL = OpenApiParameter("level", {"type": "string", "enum": ["warning", "error", "critical"]})


class AuditViewSet(ApiViewSet):
    serializer_class = EntrySerializer
    pagination_class = KeysetPagination
    filters: ClassVar = ("event", "actor", "subject", "site", "since", "until", "search")

    def get_queryset(self) -> QuerySet[Entry]:
        entries = Entry.objects.all() if self.caller.may(AUDIT_READ) else entries_of(self.caller.pk)
        for name, field, read in (
            ("event", "event", text_param),
            ("actor", "actor_id", UUID),
            ("subject", "subject_id", UUID),
            ("site", "site_id", UUID),
        ):
            value = query_param(self.request, name, read)
            if value is not None:
                entries = entries.filter(**{field: value})
        entries = between(
            entries,
            query_param(self.request, "since", datetime_param),
            query_param(self.request, "until", datetime_param),
        )
        text = query_param(self.request, "search", text_param)
        return mentioning(entries, text) if text else entries

    @action_policy(scope=AUDIT_READ, role=SIGNED_IN, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="list_audit",
        parameters=[EVENT, *IDS, *TIMES, SEARCH],
        responses=EntrySerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        """What was done, newest first: by you, to your account, to your sites; everything for holders of
        `audit.read`.
        """
        page = self.paginate_queryset(self.get_queryset()) or []
        context = {**self.get_serializer_context(), "personal": personal_of(entry.pk for entry in page)}
        return self.get_paginated_response(EntrySerializer(page, many=True, context=context).data)


class LogViewSet(ApiViewSet):
    serializer_class = LogLineSerializer
    pagination_class = KeysetPagination
    filters: ClassVar = ("level", "since", "until", "search")

    def get_queryset(self) -> QuerySet[LogLine]:
        lines = LogLine.objects.all()
        if level := query_param(self.request, "level", text_param):
            lines = lines.filter(level=level)
        if since := query_param(self.request, "since", datetime_param):
            lines = lines.filter(created_at__gte=since)
        if until := query_param(self.request, "until", datetime_param):
            lines = lines.filter(created_at__lt=until)
        text = query_param(self.request, "search", text_param)
        return lines.filter(message__icontains=text) if text else lines

    @action_policy(scope=LOGS_READ, role=LOGS_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(
        operation_id="list_logs", parameters=[LEVEL, *TIMES, SEARCH], responses=LogLineSerializer(many=True)
    )
    def list(self, request: Request) -> Response:
        """Warnings and errors of the server, newest first, for holders of `logs.read`."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(LogLineSerializer(page, many=True).data)

    @action_policy(scope=LOGS_READ, role=LOGS_READ, recent_proof=False, if_match=False, impersonation=True)
    @extend_schema(operation_id="log", responses=LogLineSerializer)
    def retrieve(self, request: Request, pk: UUID) -> Response:
        """One line."""
        return Response(LogLineSerializer(self.get_object()).data)
