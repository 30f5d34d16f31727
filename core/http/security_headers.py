"""Content-Security-Policy of the application host: nothing may be loaded by an API answer, little by the
admin.

The other security headers are Django's own (SecurityMiddleware, XFrameOptionsMiddleware).
"""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HTML_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class ContentSecurityPolicyMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", content_security_policy(request.path))
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


def content_security_policy(path: str) -> str:
    return (
        HTML_POLICY
        if path.startswith(("/admin", "/account/", "/shared/", "/static/", "/api/docs")) or path == "/"
        else API_POLICY
    )
