"""The outermost middleware: it gives each request an id, and logs and counts each response."""

import re
import time
from collections.abc import Callable

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.ids import uuid7
from core.observability import metrics

REQUEST_ID_PATTERN = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
UNLOGGED_ROUTES = {"health", "health/live", "health/ready"}
log = structlog.get_logger("request")


class RequestLogMiddleware:
    """Sets `request.request_id` and the X-Request-ID header, logs one line and updates the metrics.

    A valid X-Request-ID of the client is kept.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        started = time.perf_counter()
        client_id = request.META.get("HTTP_X_REQUEST_ID", "")
        request_id = client_id if REQUEST_ID_PATTERN.fullmatch(client_id) else uuid7().hex
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
        if route not in UNLOGGED_ROUTES:
            admission = getattr(request, "admission", None)
            user = str(admission.principal.user_id) if admission and admission.principal else None
            log.info(
                "request_finished",
                method=request.method,
                route=route,
                status=response.status_code,
                milliseconds=round(elapsed * 1000, 1),
                user=user,
            )
        return response


def route_name(request: HttpRequest) -> str:
    """Return the URL pattern of a request, for logs and metrics.

    The number of patterns is bounded, while clients can request any number of paths. `kept` is a response
    from the cache of `core.admission`, `none` a path without a pattern.
    """
    match = request.resolver_match
    if match is None:
        return "kept" if getattr(getattr(request, "admission", None), "cached_body", b"") else "none"
    return match.route or "root"
