"""JSON Pointers (RFC 6901)."""

from collections.abc import Iterable


def json_pointer(parts: Iterable[str | int]) -> str:
    """Return the pointer for a path: `["pages", 0, "a/b"]` -> `/pages/0/a~1b`.

    An empty path gives `""`, which points to the whole document.
    """
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)
