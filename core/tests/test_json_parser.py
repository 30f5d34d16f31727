import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.exceptions import ParseError

from core.errors import PayloadTooLarge
from core.http.json_parser import MAX_DEPTH, parse_json, read_at_most

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")), inner, max_size=4
        )
    ),
    max_leaves=20,
)


@given(JSON, st.booleans())
def test_parse_json_returns_every_json_value(value, ascii_only):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(st.binary(max_size=200))
def test_parse_json_parses_or_refuses_any_bytes(body):
    try:
        value = parse_json(body)
    except ParseError:
        return
    assert value == json.loads(body.decode().strip() or "{}")


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": "\\ud800"}',
        b'["\\udfff"]',
        b'{"a": "\\udc00\\ud800"}',
        b"[NaN]",
        b"[Infinity]",
        b"[-Infinity]",
        b"[1e999]",
        b"[-1e400]",
        b"\xff\xfe",
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\x00"}',
        b"[" * 65 + b"]" * 65,
        b'{"a":' * 65 + b"1" + b"}" * 65,
        b"[" * 100_000,
        b"[" + b"9" * 5000 + b"]",
        b"[9223372036854775808]",
        b"[-9223372036854775809]",
        b"{'a': 1}",
        b"[1,]",
        b'{"a": 1} x',
        b"\xef\xbb\xbf{}",
    ],
)
def test_parse_json_refuses_invalid_or_dangerous_json(body):
    with pytest.raises(ParseError):
        parse_json(body)


def test_parse_json_accepts_brackets_and_escapes_inside_strings():
    body = b'{"a": "[[[[{{{{", "b": "\\\\u0000", "c": "\\ud83d\\ude00", "d": "\\\\\\"["}'

    assert parse_json(body) == {"a": "[[[[{{{{", "b": "\\u0000", "c": "😀", "d": '\\"['}


def test_parse_json_accepts_the_deepest_allowed_nesting():
    value = parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH)

    for _ in range(MAX_DEPTH):
        assert isinstance(value, list)
        value = value[0] if value else None
    assert value is None


def test_read_at_most_reads_one_byte_more_than_the_limit():
    stream = io.BytesIO(b"x" * 1000)

    with pytest.raises(PayloadTooLarge):
        read_at_most(stream, 100)

    assert stream.tell() == 101
    assert read_at_most(io.BytesIO(b"x" * 100), 100) == b"x" * 100
