"""Keyset pagination.

No row is skipped or repeated when rows are inserted or deleted between two pages, and the time for a page
does not grow with its number.
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
from core.times import parse_time

MAX_LIMIT = 100
DEFAULT_LIMIT = 20
MAX_CURSOR_CHARACTERS = 2000


def _invalid_parameter(name: str, detail: str) -> Invalid:
    return Invalid([FieldProblem("", f"query_{name}", detail)])


@dataclass(frozen=True, slots=True)
class Ordering:
    """An expression by which a list may be ordered, before the id.

    `type` is the type of the values of `expression`: `str`, `int` or `datetime`. They are never null.
    """

    expression: Any
    type: type


class KeysetPagination(BasePagination):
    """A paginator of DRF whose cursor is the position of the first or last row of a page.

    The order is by id descending, which is newest first because ids are UUIDv7. A view may set `order`, an
    Ordering, or `orderings`, Orderings by name among which the client chooses; rows with equal values are
    ordered by id. The query parameters are `limit` (1 to 100), `cursor`, `count`, and `ordering` where the
    view has `orderings`.
    """

    parameters: ClassVar[set[str]] = {"limit", "cursor", "count"}

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any]:
        """Return one page of rows, and remember what the links to its neighbours need. Raises Invalid."""
        self.request = request
        self.orderings = getattr(view, "orderings", {})
        self.default_order: Ordering | None = getattr(view, "order", None)
        self._refuse_unknown_parameters(set(getattr(view, "filters", ())))
        self.limit = self._limit()
        self.order, descending = self._ordering()
        backwards, position = self._cursor()
        self.count = queryset.count() if request.query_params.get("count") == "true" else None
        query_descending = descending != backwards
        rows = queryset.annotate(_key=self.order.expression) if self.order else queryset
        names = ["_key", "id"] if self.order else ["id"]
        rows = rows.order_by(*(f"-{name}" if query_descending else name for name in names))
        if position is not None:
            rows = rows.filter(self._after(position, "lt" if query_descending else "gt"))
        page = list(rows[: self.limit + 1])
        has_more = len(page) > self.limit
        page = page[: self.limit]
        if backwards:
            page.reverse()
        self.has_next = bool(page) and (backwards or has_more)
        self.has_previous = bool(page) and (has_more if backwards else position is not None)
        self.first_and_last = (page[0], page[-1]) if page else None
        return page

    def _refuse_unknown_parameters(self, filters: set[str]) -> None:
        ordering = {"ordering"} if self.orderings else set()
        if unknown := sorted(set(self.request.query_params) - self.parameters - filters - ordering):
            names = ", ".join(name[:40] for name in unknown[:5])
            raise _invalid_parameter("unknown", f"Not a parameter of this list: {names}.")

    def _after(self, position: tuple[UUID, Any], comparison: str) -> Q:
        """Return the filter for the rows after a position; `comparison` is the lookup `lt` or `gt`."""
        pk, value = position
        if not self.order:
            return Q(**{f"id__{comparison}": pk})
        return Q(**{f"_key__{comparison}": value}) | Q(**{"_key": value, f"id__{comparison}": pk})

    def _ordering(self) -> tuple[Ordering | None, bool]:
        """Return the ordering, and whether it is descending. Raises Invalid."""
        text = self.request.query_params.get("ordering") if self.orderings else None
        if text is None:
            return self.default_order, True
        name = text.removeprefix("-")
        if name not in self.orderings:
            raise _invalid_parameter(
                "ordering",
                f"`ordering` is one of {', '.join(self.orderings)}, with - before it for descending.",
            )
        return self.orderings[name], text.startswith("-")

    def get_paginated_response(self, data: Any) -> Response:
        body: dict[str, Any] = {"results": data, "next": None, "previous": None}
        if self.first_and_last and self.has_next:
            body["next"] = self._link("n", self.first_and_last[1])
        if self.first_and_last and self.has_previous:
            body["previous"] = self._link("p", self.first_and_last[0])
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
                "description": "The cursor in `next` or `previous` of another page.",
                "schema": {"type": "string"},
            },
            {
                "name": "count",
                "in": "query",
                "description": "Whether to count all rows.",
                "schema": {"type": "boolean", "default": False},
            },
        ]

    def _limit(self) -> int:
        text = self.request.query_params.get("limit", str(DEFAULT_LIMIT))
        if not (text.isascii() and text.isdecimal()) or len(text) > 3 or not 1 <= int(text) <= MAX_LIMIT:
            raise _invalid_parameter("limit", f"`limit` is a number from 1 to {MAX_LIMIT}.")
        return int(text)

    def _cursor(self) -> tuple[bool, tuple[UUID, Any] | None]:
        """Return whether the cursor leads to the previous page, and its position (id, value of the ordering).

        Without a cursor there is no position. Raises Invalid.
        """
        cursor = self.request.query_params.get("cursor")
        if cursor is None:
            return False, None
        error = _invalid_parameter("cursor", "This cursor is not valid. Start without it.")
        if len(cursor) > MAX_CURSOR_CHARACTERS:
            raise error
        try:
            direction, pk, value = json.loads(base64.urlsafe_b64decode(cursor.encode() + b"=="))
            if self.order and self.order.type is datetime:
                value = parse_time(value)
            result = {"n": False, "p": True}[direction], (UUID(pk), value)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            raise error from None
        if type(value) is not (self.order.type if self.order else type(None)):
            raise error
        if (isinstance(value, str) and not is_storable(value)) or (
            isinstance(value, int) and not -(2**31) < value < 2**31
        ):
            raise error
        return result

    def _link(self, direction: str, row: Any) -> str:
        """Return the URL of the next (`n`) or previous (`p`) page; `row` is the row at that end."""
        position = json.dumps(
            [direction, str(row.pk), row._key if self.order else None], default=datetime.isoformat
        )
        cursor = base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")
        parameters = {**self.request.query_params.dict(), "cursor": cursor}
        return self.request.build_absolute_uri(f"{self.request.path}?{urlencode(parameters)}")
