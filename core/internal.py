"""The internal listener: what the public port never serves. `/metrics`, and `/internal/*` that apps mount here."""

from collections.abc import Callable, Iterable
from typing import Any

from core import metrics

StartResponse = Callable[[str, list[tuple[str, str]]], Any]
Handler = Callable[[dict[str, Any]], tuple[str, str, bytes]]
_mounted: dict[str, Handler] = {}


def mount(path: str, handler: Handler) -> None:
    """Serve `path` (exact) by `handler(environ) -> (status line, content type, body)`. For `AppConfig.ready()`."""
    _mounted[path] = handler


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/metrics":
        status, kind, body = "200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics.exposition()
    elif path in _mounted:
        status, kind, body = _mounted[path](environ)
    else:
        status, kind, body = "404 Not Found", "text/plain; charset=utf-8", b"There is nothing here.\n"
    start_response(
        status, [("Content-Type", kind), ("Content-Length", str(len(body))), ("X-Content-Type-Options", "nosniff")]
    )
    return [body]
