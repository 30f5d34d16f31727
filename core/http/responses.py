"""Responses of the API: compact JSON, and responses whose ETag is a version (RFC 9110 section 8.8.3)."""

from typing import Any

from rest_framework import renderers
from rest_framework.response import Response


class JSONRenderer(renderers.JSONRenderer):
    """Renders compact JSON. Ignores the `indent` parameter of the media type, which DRF supports."""

    charset = None

    def get_indent(self, accepted_media_type: str, renderer_context: Any) -> None:
        return None


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
