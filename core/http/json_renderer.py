"""The JSON renderer of the API."""

from typing import Any

from rest_framework import renderers


class JSONRenderer(renderers.JSONRenderer):
    """Renders compact JSON. Ignores the `indent` parameter of the media type, which DRF supports."""

    charset = None

    def get_indent(self, accepted_media_type: str, renderer_context: Any) -> None:
        return None
