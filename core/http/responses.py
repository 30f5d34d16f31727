"""Responses of the API: compact JSON, and responses whose ETag is a version (RFC 9110 section 8.8.3)."""

from typing import Any

import orjson
from rest_framework import renderers
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder


class JSONRenderer(renderers.BaseRenderer):
    """Renders compact JSON in UTF-8; times, decimals and lazy texts as DRF's own renderer does."""

    media_type = "application/json"
    format = "json"
    charset = None
    _encoder = JSONEncoder(ensure_ascii=False, separators=(",", ":"))

    def render(self, data: Any, media_type: Any = None, context: Any = None) -> bytes:
        if data is None:
            return b""
        try:
            return orjson.dumps(data, default=self._encoder.default, option=orjson.OPT_PASSTHROUGH_DATETIME)
        except orjson.JSONEncodeError:  # earlier versions accepted integers of more than 64 bits
            return self._encoder.encode(data).encode()


def etag(version: int) -> str:
    """Return the ETag of a version: the number in double quotes."""
    return f'"{version}"'


def versioned(
    data: Any, version: int, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Return a response whose ETag is `version`. The client must revalidate it before each use."""
    return Response(
        data,
        status=status,
        headers={"ETag": etag(version), "Cache-Control": "private, no-cache", **(headers or {})},
    )
