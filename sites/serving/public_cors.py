"""What is public answers pages of any origin, without credentials: also its refusals, which are made before
any view.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

PUBLIC_PATH_PREFIX = "/api/v1/public/"
CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After",
}
PREFLIGHT_HEADERS = {
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Accept, Authorization, If-None-Match",
    "Access-Control-Max-Age": "86400",
}


class PublicCorsMiddleware:
    """Before the gate, so that a browser can read a 401 or 429 of it; a preflight asks nothing of it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PUBLIC_PATH_PREFIX):
            return self.get_response(request)
        preflight = request.method == "OPTIONS"
        answer = (
            HttpResponse(status=204, headers=PREFLIGHT_HEADERS) if preflight else self.get_response(request)
        )
        for name, value in CORS_HEADERS.items():
            answer.headers[name] = value
        return answer
