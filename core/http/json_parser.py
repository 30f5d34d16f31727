"""JSON from strangers: UTF-8, no duplicate keys, no NUL or lone surrogate, no infinity, bounded depth and
size.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any, NoReturn

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from core.errors import PayloadTooLarge

MAX_DEPTH = 64
MAX_BODY_BYTES = 64 * 1024
# Possessive, and matching to the end of an unfinished string: every byte is looked at once, whatever a
# stranger sends.
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))


class StrictJSONParser(BaseParser):
    """Parses `application/json` up to the view's `max_body_bytes` in bytes."""

    media_type = "application/json"

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        view = (parser_context or {}).get("view")
        return parse_json(read_bounded(stream, getattr(view, "max_body_bytes", MAX_BODY_BYTES)))


class StrictPatchParser(StrictJSONParser):
    """The same for `application/json-patch+json` (RFC 6902)."""

    media_type = "application/json-patch+json"


def read_bounded(stream: IO[bytes], limit: int) -> bytes:
    """Everything in `stream`. Raises PayloadTooLarge past `limit` bytes, having read no more than that."""
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise PayloadTooLarge
    return body


def parse_json(body: bytes) -> Any:
    """The JSON value in `body`; an empty body is an empty object. Raises ParseError, safe to show."""
    if not body.strip():
        return {}
    if nesting_depth(body) > MAX_DEPTH:
        raise ParseError(f"This JSON is nested more than {MAX_DEPTH} deep.")
    try:
        value = json.loads(
            body.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except UnicodeDecodeError:
        raise ParseError("This body is not UTF-8.") from None
    except (ValueError, RecursionError):
        raise ParseError("This body is not valid JSON.") from None
    if b"\\u" in body:
        _check_text(value)
    return value


def nesting_depth(body: bytes) -> int:
    """How deep the brackets of `body` nest, outside strings; one past `MAX_DEPTH` is deep enough to know."""
    deepest = depth = 0
    for character in _STRINGS.sub(b"", body).translate(None, _NOT_BRACKETS):
        depth += 1 if character in b"[{" else -1
        deepest = max(deepest, depth)
        if deepest > MAX_DEPTH:
            break
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ParseError("A key appears twice in one object.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ParseError("A number is too large.")
    return number


UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Whether PostgreSQL text can hold it: no NUL, no lone surrogate."""
    return not UNSTORABLE.search(text)


def _check_text(value: Any) -> None:
    """Refuse what PostgreSQL text cannot hold; only an escape can have brought it in."""
    if isinstance(value, str):
        if not is_storable(value):
            raise ParseError("Text may not contain NUL or a lone surrogate.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key)
            _check_text(item)
    elif isinstance(value, list):
        for item in value:
            _check_text(item)
