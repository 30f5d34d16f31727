"""Keyset pagination: no page is skipped or repeated while rows come and go, and page 1,000 costs what page 1
does.
"""

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Q
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.errors import FieldProblem, Invalid
from core.http.json_parser import is_storable
from core.http.query_params import datetime_param

MAX_LIMIT = 100
DEFAULT_LIMIT = 20
MAX_CURSOR = 2000


def _refuse(name: str, detail: str) -> Invalid:
    return Invalid([FieldProblem("", f"query_{name}", detail)])


@dataclass(frozen=True, slots=True)
class Ordering:
    """What a list may be ordered by beside its id.

    `type` is that of the values of `expression`, which are never null: `str`, `int` or `datetime`.
    """

    expression: Any
    type: type


class KeysetPagination(BasePagination):
    """Newest first, since ids are UUIDv7, or by the view's `order`, or by one of its `orderings`; ties by id.

    Parameters `limit` (1 to 100), `cursor`, `count`, and `ordering` where there is a choice.
    """

    parameters: ClassVar[set[str]] = {"limit", "cursor", "count"}

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """One page, and what is needed for the links on both sides. Raises Invalid."""
        self.request = request
        self.orderings = getattr(view, "orderings", {})
        self.default_order: Ordering | None = getattr(view, "order", None)
        known = (
            self.parameters | set(getattr(view, "filters", ())) | ({"ordering"} if self.orderings else set())
        )
        if unknown := sorted(set(request.query_params) - known):
            raise _refuse(
                "unknown", f"Not a parameter of this list: {', '.join(name[:40] for name in unknown[:5])}."
            )
        self.limit = self._limit()
        self.order, descending = self._ordering()
        backwards, position = self._cursor()
        self.count = queryset.count() if request.query_params.get("count") == "true" else None
        falling = descending != backwards
        rows = queryset.annotate(_key=self.order.expression) if self.order else queryset
        names = ["_key", "id"] if self.order else ["id"]
        rows = rows.order_by(*(f"-{name}" if falling else name for name in names))
        if position is not None:
            rows = rows.filter(self._beyond(position, "lt" if falling else "gt"))
        page = list(rows[: self.limit + 1])
        more = len(page) > self.limit
        page = page[: self.limit]
        if backwards:
            page.reverse()
        self.has_next = bool(page) and (backwards or more)
        self.has_previous = bool(page) and (more if backwards else position is not None)
        self.edges = (page[0], page[-1]) if page else None
        return page

    def _beyond(self, position: tuple[UUID, Any], way: str) -> Q:
        pk, value = position
        if not self.order:
            return Q(**{f"id__{way}": pk})
        return Q(**{f"_key__{way}": value}) | Q(**{"_key": value, f"id__{way}": pk})

    def _ordering(self) -> tuple[Ordering | None, bool]:
        given = self.request.query_params.get("ordering") if self.orderings else None
        if given is None:
            return self.default_order, True
        name = given.removeprefix("-")
        if name not in self.orderings:
            raise _refuse(
                "ordering",
                f"`ordering` is one of {', '.join(self.orderings)}, with - before it for descending.",
            )
        return self.orderings[name], given.startswith("-")

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
        properties = {
            "results": schema,
            "next": link,
            "previous": link,
            "count": {"type": "integer", "minimum": 0},
        }
        return {"type": "object", "required": ["results", "next", "previous"], "properties": properties}

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        orderings = [f"{sign}{name}" for name in getattr(view, "orderings", ()) for sign in ("", "-")]
        choice = {"name": "ordering", "in": "query", "schema": {"type": "string", "enum": orderings}}
        return [
            *([choice] if orderings else []),
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
        if not (given.isascii() and given.isdecimal()) or len(given) > 3 or not 1 <= int(given) <= MAX_LIMIT:
            raise _refuse("limit", f"`limit` is a number from 1 to {MAX_LIMIT}.")
        return int(given)

    def _cursor(self) -> tuple[bool, tuple[UUID, Any] | None]:
        given = self.request.query_params.get("cursor")
        if given is None:
            return False, None
        refusal = _refuse("cursor", "This cursor is not one of ours. Start without it.")
        if len(given) > MAX_CURSOR:
            raise refusal
        try:
            way, position, value = json.loads(base64.urlsafe_b64decode(given.encode() + b"=="))
            if self.order and self.order.type is datetime:
                value = datetime_param(value)
            found = {"n": False, "p": True}[way], (UUID(position), value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            raise refusal from None
        if type(value) is not (self.order.type if self.order else type(None)):
            raise refusal
        if (isinstance(value, str) and not is_storable(value)) or (
            isinstance(value, int) and not -(2**31) < value < 2**31
        ):
            raise refusal
        return found

    def _link(self, way: str, row: Any) -> str:
        position = [way, str(row.pk), row._key if self.order else None]
        cursor = (
            base64.urlsafe_b64encode(json.dumps(position, default=datetime.isoformat).encode())
            .decode()
            .rstrip("=")
        )
        parameters = {**self.request.query_params.dict(), "cursor": cursor}
        return self.request.build_absolute_uri(f"{self.request.path}?{urlencode(parameters)}")
