"""The outermost middleware: an id for every request, one log line and one count for every answer."""

import re
import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.ids import uuid7
from core.observability import metrics

REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
log = structlog.get_logger("request")


class RequestLogMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid7().hex
        request.request_id = request_id  # type: ignore[attr-defined]
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        elapsed = time.perf_counter() - started
        route = route_name(request)
        method = request.method if request.method in METHODS else "other"
        metrics.requests.labels(method, route, response.status_code).inc()
        metrics.seconds.labels(route).observe(elapsed)
        if route not in QUIET:
            admitted = getattr(request, "gate", None)
            user = str(admitted.principal.user_id) if admitted and admitted.principal else None
            log.info(
                "request_finished",
                method=request.method,
                route=route,
                status=response.status_code,
                milliseconds=round(elapsed * 1000, 1),
                user=user,
            )
        return response


METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
QUIET = {"health", "health/live", "health/ready"}


def route_name(request: HttpRequest) -> str:
    """The URL pattern that answered: bounded in number, whatever paths strangers try."""
    match = request.resolver_match
    if match is None:
        return "kept" if getattr(getattr(request, "gate", None), "body", b"") else "none"
    return match.route or "root"
