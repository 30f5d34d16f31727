"""Parsers of query parameters. Each takes the text and raises ValueError when it is not valid."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from core.errors import FieldProblem, Invalid


def datetime_param(text: str) -> datetime:
    """Parse an RFC 3339 time with an offset; return it in UTC. Raises ValueError."""
    value = parse_datetime(text)
    if value is None or value.tzinfo is None:
        raise ValueError
    try:
        return value.astimezone(UTC)  # PostgreSQL accepts fewer offsets than Python
    except OverflowError:
        raise ValueError from None


def text_param(text: str) -> str:
    """Return a text of 1 to 100 characters without NUL. Raises ValueError."""
    if not text or len(text) > 100 or "\x00" in text:
        raise ValueError
    return text


def query_param(request: Request, name: str, parse: Callable[[str], Any]) -> Any:
    """Return the parsed query parameter, or None when it is absent.

    Raises Invalid when `parse` raises ValueError.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return parse(text)
    except ValueError:
        raise Invalid([FieldProblem("", f"query_{name}", f"`{name}` is not a valid value.")]) from None


def integer_param(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of integers from `low` to `high`."""

    def parse_integer(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text[:9]) <= high or len(text) > 9:
            raise ValueError
        return int(text)

    return parse_integer


def boolean_param(text: str) -> bool:
    """Parse `true` or `false`. Raises ValueError."""
    if text not in {"true", "false"}:
        raise ValueError
    return text == "true"
