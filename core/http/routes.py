"""How the API's addresses are written: no slash at the end, the verbs named."""

from django.urls import URLPattern, path
from rest_framework.viewsets import ViewSetMixin


def route(pattern: str, viewset: type[ViewSetMixin], **actions: str) -> URLPattern:
    """`route("sites/<uuid:pk>", SiteViewSet, get="retrieve")`: each HTTP verb with the action it calls."""
    return path(pattern, viewset.as_view({**actions}))
