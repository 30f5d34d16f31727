"""A strict JSON parser for untrusted input.

It accepts UTF-8 only, limits size and depth, and refuses duplicate keys, NaN and infinity, integers of more
than 64 bits, and the characters that a PostgreSQL text cannot store (NUL and lone surrogates). Its hooks are
Python functions, so that a large body does not stop the other threads (`core.storage.documents`).
"""

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from typing import IO, Any, NoReturn

from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser

from core.errors import PayloadTooLarge

MAX_DEPTH = 64
MAX_BODY_BYTES = 64 * 1024
TOO_DEEP = f"This JSON is nested more than {MAX_DEPTH} deep."
INTEGERS = range(-(2**63), 2**63)


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
        return parse_json(read_at_most(stream, getattr(view, "max_body_bytes", MAX_BODY_BYTES)))


class StrictPatchParser(StrictJSONParser):
    """Parses `application/json-patch+json` (RFC 6902) in the same way."""

    media_type = "application/json-patch+json"


def read_at_most(stream: IO[bytes], limit: int) -> bytes:
    """Return the content of `stream`. Raises PayloadTooLarge when it has more than `limit` bytes.

    Reads at most one byte more than `limit`.
    """
    body = stream.read(limit + 1)
    if len(body) > limit:
        raise PayloadTooLarge
    return body


def parse_json(body: bytes) -> Any:
    """Return the JSON value in `body`; an empty body is an empty object.

    Raises ParseError, whose message may be shown to users.
    """
    if not body.strip():
        return {}
    try:
        value = _decoder().decode(body.decode())
    except UnicodeDecodeError:
        raise ParseError("This body is not UTF-8.") from None
    except RecursionError:
        raise ParseError(TOO_DEEP) from None
    except ValueError:
        raise ParseError("This body is not valid JSON.") from None
    _refuse_deep_nesting(value)
    if b"\\u" in body:
        _refuse_unstorable_text(value)
    return value


@cache
def _decoder() -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_dict_without_duplicates,
        parse_constant=_refuse_constant,
        parse_float=_parse_finite_float,
        parse_int=_parse_integer,
    )


def _refuse_deep_nesting(value: Any) -> None:
    """Raise ParseError when lists and objects nest more than `MAX_DEPTH` deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for container in level
            if isinstance(container, dict | list)
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
        if not level:
            return
    raise ParseError(TOO_DEEP)


def _dict_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ParseError("A key appears twice in one object.")
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not JSON.")


def _parse_integer(text: str) -> int:
    number = int(text)
    if number not in INTEGERS:
        raise ParseError("A number is too large.")
    return number


def _parse_finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ParseError("A number is too large.")
    return number


UNSTORABLE_CHARACTERS = re.compile("[\x00\ud800-\udfff]")


def is_storable(text: str) -> bool:
    """Return whether a PostgreSQL text can store this: it has no NUL and no lone surrogate."""
    return not UNSTORABLE_CHARACTERS.search(text)


def _refuse_unstorable_text(value: Any) -> None:
    """Raise ParseError when a text in `value` cannot be stored.

    Only `\\u` escapes produce such characters: as raw bytes they are not valid JSON or not valid UTF-8.
    """
    if isinstance(value, str):
        if not is_storable(value):
            raise ParseError("Text may not contain NUL or a lone surrogate.")
    elif isinstance(value, dict):
        for key, item in value.items():
            _refuse_unstorable_text(key)
            _refuse_unstorable_text(item)
    elif isinstance(value, list):
        for item in value:
            _refuse_unstorable_text(item)
