"""The WSGI application of the internal listener.

It serves `/metrics`, `/health/live` and `/health/ready`, and what apps register below `/internal/`. Of these
the public port serves only the health endpoints, with fewer parts.
"""

from collections.abc import Callable, Iterable
from typing import Any

from core.observability import health, metrics, store_metrics

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Handler = Callable[[dict[str, Any]], tuple[str, str, bytes]]
_handlers: dict[str, Handler] = {
    "/health/live": health.internal_live,
    "/health/ready": health.internal_ready,
}


def register_handler(path: str, handler: Handler) -> None:
    """Serve exactly `path` with `handler(environ) -> (status line, content type, body)`.

    For `AppConfig.ready()`.
    """
    _handlers[path] = handler


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answer one request. Unknown paths get 404."""
    path = environ["PATH_INFO"]
    if path == "/metrics":
        status = "200 OK"
        content_type = "text/plain; version=0.0.4; charset=utf-8"
        body = metrics.exposition() + store_metrics.exposition()
    elif path in _handlers:
        status, content_type, body = _handlers[path](environ)
    else:
        status = "404 Not Found"
        content_type = "text/plain; charset=utf-8"
        body = b"There is nothing here.\n"
    start_response(
        status,
        [
            ("Content-Type", content_type),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
        ],
    )
    return [body]
