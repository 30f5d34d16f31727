"""The name of a request's route, for logs and metrics."""

from django.http import HttpRequest


def route_name(request: HttpRequest) -> str:
    """Return the URL pattern of a request, for logs and metrics.

    The number of patterns is bounded, while clients can request any number of paths. `kept` is a response
    from the cache of `core.admission`, `none` a path without a pattern.
    """
    match = request.resolver_match
    if match is None:
        return "kept" if getattr(getattr(request, "admission", None), "cached_body", b"") else "none"
    return match.route or "root"
