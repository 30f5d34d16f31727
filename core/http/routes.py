"""A short form for the URL patterns of viewsets. The URLs of the API have no trailing slash."""

import re

from django.urls import URLPattern, path
from rest_framework.viewsets import ViewSetMixin

from core.http.action_policy import Cache, policy_of

API_PREFIX = "/api/v1/"
# The GET routes whose responses are cached, by a regular expression of their paths.
cached_routes: dict[re.Pattern[str], Cache] = {}
PARAMETER = re.compile(r"<(?:(\w+):)?(\w+)>")


def route(pattern: str, viewset: type[ViewSetMixin], **actions: str) -> URLPattern:
    """Return the URL pattern of a viewset. `actions` maps HTTP methods to actions.

    Example: `route("sites/<uuid:pk>", SiteViewSet, get="retrieve", patch="partial_update")`.
    """
    if "get" in actions and (cache := policy_of(viewset, actions["get"]).cache):
        cached_routes[_as_regex(API_PREFIX + pattern)] = cache
    return path(pattern, viewset.as_view({**actions}))


def _as_regex(pattern: str) -> re.Pattern[str]:
    """Return a regular expression for the paths that a URL pattern matches, with ids in lower case only."""

    def parameter(match: re.Match[str]) -> str:
        return f"(?P<{match[2]}>{'[0-9a-f-]{36}' if match[1] == 'uuid' else '[^/]+'})"

    return re.compile(PARAMETER.sub(parameter, pattern))
