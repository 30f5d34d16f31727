"""Keyset pagination: no page is skipped or repeated while rows come and go, and page 1,000 costs what page 1 does."""

import base64
import binascii
import json
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.errors import FieldProblem, Invalid

MAX_LIMIT = 100
DEFAULT_LIMIT = 20
MAX_CURSOR = 120


def _refuse(name: str, detail: str) -> Invalid:
    return Invalid([FieldProblem("", f"query_{name}", detail)])


class KeysetPagination(BasePagination):
    """Orders by id, newest first: ids are UUIDv7. Parameters `limit` (1 to 100), `cursor`, `count`."""

    parameters: ClassVar[set[str]] = {"limit", "cursor", "count"}

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """One page, and what is needed for the links on both sides. Raises Invalid."""
        known = self.parameters | set(getattr(view, "filters", ()))
        if unknown := sorted(set(request.query_params) - known):
            raise _refuse("unknown", f"Not a parameter of this list: {', '.join(name[:40] for name in unknown[:5])}.")
        self.request = request
        self.limit = self._limit()
        backwards, position = self._cursor()
        self.count = queryset.count() if request.query_params.get("count") == "true" else None
        rows = queryset.order_by("id" if backwards else "-id")
        if position is not None:
            rows = rows.filter(Q(id__gt=position) if backwards else Q(id__lt=position))
        page = list(rows[: self.limit + 1])
        more = len(page) > self.limit
        page = page[: self.limit]
        if backwards:
            page.reverse()
        self.has_next = bool(page) and (backwards or more)
        self.has_previous = bool(page) and (more if backwards else position is not None)
        self.edges = (page[0].pk, page[-1].pk) if page else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        body: dict[str, Any] = {"results": data, "next": None, "previous": None}
        if self.edges and self.has_next:
            body["next"] = self._link("n", self.edges[1])
        if self.edges and self.has_previous:
            body["previous"] = self._link("p", self.edges[0])
        if self.count is not None:
            body["count"] = self.count
        return Response(body, headers={"Cache-Control": "private, no-cache"})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        link = {"type": ["string", "null"], "format": "uri"}
        properties = {"results": schema, "next": link, "previous": link, "count": {"type": "integer", "minimum": 0}}
        return {"type": "object", "required": ["results", "next", "previous"], "properties": properties}

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        return [
            {
                "name": "limit",
                "in": "query",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            },
            {
                "name": "cursor",
                "in": "query",
                "description": "From `next` or `previous`.",
                "schema": {"type": "string"},
            },
            {
                "name": "count",
                "in": "query",
                "description": "Also count all.",
                "schema": {"type": "boolean", "default": False},
            },
        ]

    def _limit(self) -> int:
        given = self.request.query_params.get("limit", str(DEFAULT_LIMIT))
        if not (given.isascii() and given.isdecimal()) or not 1 <= int(given[:6]) <= MAX_LIMIT:
            raise _refuse("limit", f"`limit` is a number from 1 to {MAX_LIMIT}.")
        return int(given)

    def _cursor(self) -> tuple[bool, UUID | None]:
        given = self.request.query_params.get("cursor")
        if given is None:
            return False, None
        if len(given) > MAX_CURSOR:
            raise _refuse("cursor", "This cursor is not one of ours. Start without it.")
        try:
            way, position = json.loads(base64.urlsafe_b64decode(given.encode() + b"=="))
            return {"n": False, "p": True}[way], UUID(position)
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            raise _refuse("cursor", "This cursor is not one of ours. Start without it.") from None

    def _link(self, way: str, position: UUID) -> str:
        cursor = base64.urlsafe_b64encode(json.dumps([way, str(position)]).encode()).decode().rstrip("=")
        parameters = {**self.request.query_params.dict(), "cursor": cursor}
        return self.request.build_absolute_uri(f"{self.request.path}?{urlencode(parameters)}")
