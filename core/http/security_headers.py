"""The Content-Security-Policy and the Cross-Origin-Resource-Policy of the application host.

An API response may load nothing; HTML pages may load their own scripts, styles and images. Django sets the
other security headers (SecurityMiddleware, XFrameOptionsMiddleware).
"""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HTML_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; script-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HTML_PREFIXES = ("/admin", "/account/", "/shared/", "/static/", "/api/docs")


class ContentSecurityPolicyMiddleware:
    """Sets Content-Security-Policy and Cross-Origin-Resource-Policy unless the view has set them."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", content_security_policy(request.path))
        response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
        return response


def content_security_policy(path: str) -> str:
    """Return the policy for a URL path of the application host."""
    is_html = path == "/" or path.startswith(HTML_PREFIXES)
    return HTML_POLICY if is_html else API_POLICY
