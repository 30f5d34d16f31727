"""The internal listener: what the public port never serves.

`/metrics`, and `/internal/*` that apps mount here.
"""

from collections.abc import Callable, Iterable
from typing import Any

from core.observability import metrics

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Handler = Callable[[dict[str, Any]], tuple[str, str, bytes]]
_mounted: dict[str, Handler] = {}


def register_handler(path: str, handler: Handler) -> None:
    """Serve `path` (exact) by `handler(environ) -> (status line, content type, body)`.

    For `AppConfig.ready()`.
    """
    _mounted[path] = handler


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/metrics":
        status = "200 OK"
        kind = "text/plain; version=0.0.4; charset=utf-8"
        body = metrics.exposition()
    elif path in _mounted:
        status, kind, body = _mounted[path](environ)
    else:
        status = "404 Not Found"
        kind = "text/plain; charset=utf-8"
        body = b"There is nothing here.\n"
    start_response(
        status,
        [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")],
    )
    return [body]
