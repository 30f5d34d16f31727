"""How the API's addresses are written: no slash at the end, the verbs named."""

from typing import Any

from django.urls import URLPattern, path


def route(pattern: str, viewset: Any, **actions: str) -> URLPattern:
    """`route("sites/<uuid:pk>", SiteViewSet, get="retrieve")`: each HTTP verb with the action it calls."""
    return path(pattern, viewset.as_view(actions))
