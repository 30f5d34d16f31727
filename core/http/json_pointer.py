"""JSON Pointers (RFC 6901)."""

from collections.abc import Iterable


def json_pointer(parts: Iterable[str | int]) -> str:
    """`["pages", 0, "a/b"]` -> `/pages/0/a~1b`; no parts is the whole document, `""`."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
