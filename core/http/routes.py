"""A short form for the URL patterns of viewsets. The URLs of the API have no trailing slash."""

from django.urls import URLPattern, path
from rest_framework.viewsets import ViewSetMixin


def route(pattern: str, viewset: type[ViewSetMixin], **actions: str) -> URLPattern:
    """Return the URL pattern of a viewset. `actions` maps HTTP methods to actions.

    Example: `route("sites/<uuid:pk>", SiteViewSet, get="retrieve", patch="partial_update")`.
    """
    return path(pattern, viewset.as_view({**actions}))
