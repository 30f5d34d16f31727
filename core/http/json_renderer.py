"""JSON on its way out."""

from typing import Any

from rest_framework import renderers


class JSONRenderer(renderers.JSONRenderer):
    """Compact JSON, whatever media type parameters the client asks for."""

    charset = None

    def get_indent(self, accepted_media_type: str, renderer_context: Any) -> None:
        return None
