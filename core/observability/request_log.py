"""The outermost middleware: it gives each request an id, and logs and counts each response."""

import random
import re
import time
from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core.observability import metrics, structured_logging
from core.observability.route_names import route_name
from core.observability.structured_logging import redact_text

REQUEST_ID_PATTERN = re.compile(r"^[A-Za-z0-9._-]{8,64}$")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
UNLOGGED_ROUTES = {"health", "health/live", "health/ready"}
# Keys of the WSGI environ. The start is a `time.perf_counter()`.
REQUEST_ID = "getyousite.request_id"
STARTED = "getyousite.started"


class RequestLogMiddleware:
    """Sets `request.request_id` and the X-Request-ID header, logs one line and updates the metrics."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = start_request(request.META)
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response["X-Request-ID"] = request_id
        admission = getattr(request, "admission", None)
        principal = admission.principal if admission else None
        finish_request(request.META, route_name(request), response.status_code, principal=principal)
        return response


def start_request(environ: dict[str, Any]) -> str:
    """Return the id of a request, and add it to every line that is logged until the next request.

    A valid X-Request-ID of the client is kept, unless it looks like a credential. A second call for the same
    request returns the same id.
    """
    request_id: str | None = environ.get(REQUEST_ID)
    if request_id is None:
        client_id = environ.get("HTTP_X_REQUEST_ID", "")
        is_valid = REQUEST_ID_PATTERN.fullmatch(client_id) and redact_text(client_id) == client_id
        # No secret: the random numbers of the system would take longer than all the rest.
        request_id = client_id if is_valid else f"{random.getrandbits(128):032x}"
        environ[REQUEST_ID] = request_id
        environ[STARTED] = time.perf_counter()
    structlog.contextvars.bind_contextvars(request_id=request_id)
    return request_id


def finish_request(environ: dict[str, Any], route: str, status: int, *, principal: Any) -> None:
    """Log and count the answer to a request that `start_request` has seen."""
    method = environ["REQUEST_METHOD"]
    elapsed = time.perf_counter() - environ[STARTED]
    metrics.count_request(method if method in METHODS else "other", route, status, elapsed)
    if route not in UNLOGGED_ROUTES:
        structured_logging.log_information(
            "request",
            "request_finished",
            method=method,
            route=route,
            status=status,
            milliseconds=round(elapsed * 1000, 1),
            user=principal.user_text if principal else None,
        )
