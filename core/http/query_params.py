"""Parsers of query parameters. Each takes the text and raises ValueError when it is not valid."""

from collections.abc import Callable
from typing import Any

from rest_framework.request import Request

from core.errors import FieldProblem, Invalid, TextRefused


def text_param(text: str) -> str:
    """Return a text of 1 to 100 characters without NUL. Raises ValueError."""
    if not text or len(text) > 100 or "\x00" in text:
        raise ValueError
    return text


def query_param(request: Request, name: str, parse: Callable[[str], Any]) -> Any:
    """Return the parsed query parameter, or None when it is absent.

    Raises Invalid when `parse` raises ValueError, with its message if it is a TextRefused.
    """
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return parse(text)
    except TextRefused as refusal:
        message = str(refusal)
    except ValueError:
        message = f"`{name}` is not a valid value."
    raise Invalid([FieldProblem("", f"query_{name}", message)])


def integer_param(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of integers from `low` to `high`."""

    def parse_integer(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text[:9]) <= high or len(text) > 9:
            raise ValueError
        return int(text)

    return parse_integer


def choice_param(*choices: str) -> Callable[[str], str]:
    """Return a parser of one of these texts."""

    def parse_choice(text: str) -> str:
        if text not in choices:
            raise TextRefused(f"Choose one of {', '.join(choices)}.")
        return text

    return parse_choice


def boolean_param(text: str) -> bool:
    """Parse `true` or `false`. Raises ValueError."""
    if text not in {"true", "false"}:
        raise ValueError
    return text == "true"
