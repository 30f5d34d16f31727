"""The outermost layer of the public listener: published sites, by host name, before Django sees the request.

A WSGI callable and not a Django middleware: a page from memory then costs none of Django's request cycle
(docs/decisions/002). API and admin live on APP_HOST only; no cookie is read or set here.
"""

import io
import ipaddress
import mimetypes
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any
from urllib.parse import quote

import structlog
from django.conf import settings
from django.db import DatabaseError

from core.errors import Unavailable
from core.http.preconditions import matches_if_none_match
from core.http.problems import problem_response
from sites.models import Release
from sites.serving.host_routing import Route, Routes, RoutesUnavailable
from sites.serving.page_cache import SAFE, Headers, PageCache, RenderFailed, moved
from sites.serving.template_pictures import shipped_files
from sites.subdomains import LABEL

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
Handler = Callable[[Environ, Route], tuple[str, Headers, bytes]]

BODY_READER_TIMEOUT_SECONDS = 0.05  # a body that is there already is read in less than a millisecond
MAX_HOST_HEADER_BYTES = (
    260  # bytes: a name of 253 and a port; what strangers send longer is not kept in memory
)

log = structlog.get_logger(__name__)
_mounts: dict[str, tuple[Handler, bool, int]] = {}
_SITE_NOT_FOUND_HTML = b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>No site here</title><h1>There is no site here</h1><p>Check the address, or come back later.</p>\n"
_UNAVAILABLE_HTML = b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>One moment</title><h1>One moment, please</h1><p>This page cannot be shown right now. Try again in a few seconds.</p>\n"


def mount(prefix: str, handler: Handler, *, unpublished: bool = False, body: int = 0) -> None:
    """Answer paths below `/_/` that start with `prefix` on every published site, or on any host that a site
    could have.

    Of a POST the handler reads up to `body` bytes and one, so that it can tell when there were more. For
    `AppConfig.ready()`.
    """
    if not prefix.startswith("/_/"):
        raise ValueError("a mount lives below /_/")
    _mounts[prefix] = (handler, unpublished, body)


class SiteServer:
    """`app` answers for APP_HOST; everything else is a published site or nothing."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.routes = Routes()
        self.pages = PageCache(settings.PAGE_CACHE_BYTES)
        self.app_hosts = {settings.APP_HOST, *(settings.LOOPBACK_HOSTS if settings.DEVELOPMENT else [])}
        self.suffix = "." + settings.SITES_DOMAIN
        self.readers = threading.BoundedSemaphore(max(1, settings.ENV.web_threads - 1))

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        header = environ.get("HTTP_HOST", "")
        host = parse_host_header(header) if len(header) <= MAX_HOST_HEADER_BYTES else ""
        if host in self.app_hosts:
            return self._app(environ, start_response)
        if environ["PATH_INFO"].startswith("/health") and is_ip_address(
            host
        ):  # a probe that knows only our address
            return self._app({**environ, "HTTP_HOST": settings.APP_HOST}, start_response)
        try:
            status, headers, body = self.answer(environ, host)
        except (RoutesUnavailable, DatabaseError, Release.DoesNotExist, RenderFailed) as error:
            log.warning(
                "page_unavailable", error=type(error).__name__, exc_info=isinstance(error, RenderFailed)
            )
            status, headers, body = plain_response(
                "503 Service Unavailable", _UNAVAILABLE_HTML, ("Retry-After", "2")
            )
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Django's answer. A body is read first, and never by all threads at once.

        The server waits for a body as long as the client likes: sixteen silent sockets would stop every
        thread. A chunked body gets its length here, because Django reads nothing without one.
        """
        if environ.get("CONTENT_LENGTH", "") in {"", "0"} and "HTTP_TRANSFER_ENCODING" not in environ:
            return self.app(environ, start_response)
        body = self._read(environ, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        if body is None:
            refusal = problem_response(
                Unavailable.status,
                code=Unavailable.code,
                detail=Unavailable.message,
                headers=Unavailable().headers,
            )
            start_response(f"{refusal.status_code} {refusal.reason_phrase}", list(refusal.items()))
            return [refusal.content]
        return self.app(
            {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}, start_response
        )

    def _read(self, environ: Environ, limit: int) -> bytes | None:
        """The body, of which at most `limit` bytes; None while as many threads read bodies as may, for longer
        than a burst takes.
        """
        if not self.readers.acquire(timeout=BODY_READER_TIMEOUT_SECONDS):
            return None
        try:
            body: bytes = environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or limit), limit))
            return body
        finally:
            self.readers.release()

    def answer(self, environ: Environ, host: str) -> tuple[str, Headers, bytes]:
        subdomain = host.removesuffix(self.suffix)
        if subdomain == host or not LABEL.match(subdomain):
            return plain_response("404 Not Found", _SITE_NOT_FOUND_HTML)
        route = self.routes.find(subdomain, host)
        path = environ["PATH_INFO"]
        if path.startswith("/_/"):
            return self._mounted(environ, route, path)
        if route.release_id is not None and environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return plain_response("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
        try:
            return self._page(environ, route, path)
        except (
            Release.DoesNotExist
        ):  # no longer the live one: something was published since the route was read
            return self._page(environ, self.routes.renew(subdomain, host), path)

    def _page(self, environ: Environ, route: Route, path: str) -> tuple[str, Headers, bytes]:
        """What a route shows at `path`. Raises Release.DoesNotExist."""
        if route.release_id is None:
            return plain_response("404 Not Found", _SITE_NOT_FOUND_HTML)
        bare = path.rstrip("/")
        if bare != path and (bare in route.paths or f"{bare}/".startswith(f"{route.posts_path}/")):
            return redirect_permanently(quote(bare, encoding="latin-1"))
        page = self.pages.find(route, path)
        if page.status.startswith("404") and (address := moved(route, path)):
            return redirect_permanently(address)
        variant = page.variants[
            choose_encoding(environ.get("HTTP_ACCEPT_ENCODING", "")[:MAX_HOST_HEADER_BYTES])
        ]
        if page.status.startswith("200") and matches_if_none_match(
            environ.get("HTTP_IF_NONE_MATCH", ""), variant.etag
        ):
            kept = [
                header
                for header in variant.headers
                if header[0] not in {"Content-Length", "Content-Type", "Content-Encoding"}
            ]
            return "304 Not Modified", kept, b""
        return page.status, variant.headers, variant.body

    def _mounted(self, environ: Environ, route: Route, path: str) -> tuple[str, Headers, bytes]:
        for prefix, (handler, unpublished, limit) in _mounts.items():
            if path.startswith(prefix) and (unpublished or route.release_id):
                if limit and environ["REQUEST_METHOD"] == "POST":
                    body = self._read(environ, limit + 1)
                    if body is None:
                        return plain_response("503 Service Unavailable", b"", ("Retry-After", "2"))
                    environ = {**environ, "wsgi.input": io.BytesIO(body)}
                return handler(environ, route)
        return plain_response("404 Not Found", b"" if route.release_id else _SITE_NOT_FOUND_HTML)


def plain_response(status: str, body: bytes, *extra: tuple[str, str]) -> tuple[str, Headers, bytes]:
    """A small answer that is not a page of any site."""
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
    ]
    return status, [*headers, ("Content-Security-Policy", "default-src 'none'"), *SAFE, *extra], body


def redirect_permanently(address: str) -> tuple[str, Headers, bytes]:
    """To where something on the same host is for good."""
    return plain_response("301 Moved Permanently", b"", ("Location", address))


@lru_cache(maxsize=4096)
def parse_host_header(header: str) -> str:
    """The Host header without port and final dot, in lower case; `""` when it is not one host name."""
    name, _, port = (
        header.rpartition(":")
        if header.count(":") == 1 or (header.startswith("[") and "]:" in header)
        else (header, "", "")
    )
    if port and not (port.isascii() and port.isdecimal()):
        return ""
    name = name.lower().removesuffix(".")
    return name if name.isascii() and len(name) <= 253 else ""


def is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def choose_encoding(accepted: str) -> str:
    """The best of our encodings that the client accepts (RFC 9110, 12.5.3)."""
    weights: dict[str, float] = {}
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        quality = parameter.strip().removeprefix("q=")
        try:
            weights[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return next((name for name in ("br", "gzip") if weights.get(name, 0) > 0), "identity")


def serve_picture(environ: Environ, route: Route) -> tuple[str, Headers, bytes]:
    """A shipped picture. Its address carries a digest, so it may be kept for ever."""
    path = shipped_files().get(environ["PATH_INFO"])
    if path is None:
        return plain_response("404 Not Found", b"")
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return plain_response("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
    body = read_picture(str(path))
    kind = mimetypes.types_map.get(path.suffix, "image/webp")
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "public, max-age=31536000, immutable"),
    ]
    return "200 OK", [*headers, ("Content-Security-Policy", "default-src 'none'; sandbox"), *SAFE], body


@lru_cache(maxsize=64)
def read_picture(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
