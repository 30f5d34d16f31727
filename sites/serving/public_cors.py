"""CORS for the public API: any origin may read it, without credentials."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

PUBLIC_PATH_PREFIX = "/api/v1/public/"
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": (
        "ETag, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After"
    ),
}
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Accept, Authorization, If-None-Match",
    "Access-Control-Max-Age": "86400",
}


class PublicCorsMiddleware:
    """Adds the CORS headers to every answer of the public API, and answers preflights itself.

    It runs before the admission middleware, so that a script can read its 401 and 429 answers, and so that
    a preflight does not count against the rate limit.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PUBLIC_PATH_PREFIX):
            return self.get_response(request)
        is_preflight = request.method == "OPTIONS"
        response = (
            HttpResponse(status=204, headers=PREFLIGHT_HEADERS)
            if is_preflight
            else self.get_response(request)
        )
        for name, value in CORS_HEADERS.items():
            response.headers[name] = value
        return response
