"""Reading the query parameters of lists."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from core.errors import FieldProblem, Invalid


def datetime_param(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None or found.tzinfo is None:
        raise ValueError
    try:
        return found.astimezone(UTC)  # PostgreSQL knows fewer time zones than RFC 3339
    except OverflowError:
        raise ValueError from None


def text_param(text: str) -> str:
    if not text or len(text) > 100 or "\x00" in text:
        raise ValueError
    return text


def query_param(request: Request, name: str, read: Callable[[str], Any]) -> Any:
    """A filter of the query, or None. Raises Invalid."""
    given = request.query_params.get(name)
    if given is None:
        return None
    try:
        return read(given)
    except ValueError:
        raise Invalid([FieldProblem("", f"query_{name}", f"`{name}` is not a valid value.")]) from None


def integer_param(low: int, high: int) -> Callable[[str], int]:
    """A reader of integers from `low` to `high`."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text[:9]) <= high or len(text) > 9:
            raise ValueError
        return int(text)

    return read


def boolean_param(text: str) -> bool:
    """`true` or `false`. Raises ValueError."""
    if text not in {"true", "false"}:
        raise ValueError
    return text == "true"
