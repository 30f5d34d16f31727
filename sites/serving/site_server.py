"""The WSGI application in front of Django: it serves published sites by host name.

It is a WSGI layer and not a Django middleware, so that a page from memory costs none of Django's request
cycle (docs/decisions/002). Requests for APP_HOST are passed to Django. No cookie is read or set here.
"""

import io
import ipaddress
import mimetypes
from collections.abc import Callable, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import structlog
from django.conf import settings
from django.db import DatabaseError

from core.admission.request_bodies import BodyReader
from core.errors import DomainError
from core.http.preconditions import matches_if_none_match
from core.http.problems import problem_response
from core.http.rendered_documents import choose_encoding
from core.ids import uuid7
from sites.models import Release
from sites.serving.host_routing import Route, Routes, RoutesUnavailable
from sites.serving.page_cache import SITE_SECURITY_HEADERS, Headers, PageCache, RenderFailed, moved_post_path
from sites.serving.template_pictures import shipped_files
from sites.subdomains import LABEL

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
App = Callable[[Environ, StartResponse], Iterable[bytes]]
WsgiResponse = tuple[str, Headers, bytes]  # status line, headers, body
Handler = Callable[[Environ, Route], WsgiResponse]

# A host name of 253 bytes and a port. Longer header values are not kept in the caches of this module.
MAX_HOST_HEADER_BYTES = 260

log = structlog.get_logger(__name__)
_SITE_NOT_FOUND_HTML = (
    b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    b"<title>No site here</title><h1>There is no site here</h1>"
    b"<p>Check the address, or come back later.</p>\n"
)
_UNAVAILABLE_HTML = (
    b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    b"<title>One moment</title><h1>One moment, please</h1>"
    b"<p>This page cannot be shown right now. Try again in a few seconds.</p>\n"
)
_mounts: dict[str, tuple[Handler, bool, int]] = {}  # by path prefix; the arguments of `mount`


def mount(prefix: str, handler: Handler, *, allow_unpublished: bool = False, max_body_bytes: int = 0) -> None:
    """Let `handler` answer the paths of published sites that start with `prefix`, which is below `/_/`.

    With `allow_unpublished` it also answers on the hosts of unpublished and unknown sites. The body of a
    POST is read up to `max_body_bytes` and one byte more, so that the handler can detect a longer one.
    Use it in `AppConfig.ready()`. Raises ValueError when `prefix` is not below `/_/`.
    """
    if not prefix.startswith("/_/"):
        raise ValueError("the prefix of a mount must start with /_/")
    _mounts[prefix] = (handler, allow_unpublished, max_body_bytes)


class SiteServer:
    """The WSGI application of a web process. `app` is Django's, which answers for APP_HOST only."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.routes = Routes()
        self.pages = PageCache(settings.PAGE_CACHE_BYTES)
        self.app_hosts = {settings.APP_HOST, *(settings.LOOPBACK_HOSTS if settings.DEVELOPMENT else [])}
        self.sites_domain_suffix = "." + settings.SITES_DOMAIN
        self.body_reader = BodyReader(settings.ENV.web_threads)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        host_header = environ.get("HTTP_HOST", "")
        host = parse_host_header(host_header) if len(host_header) <= MAX_HOST_HEADER_BYTES else ""
        if host in self.app_hosts:
            return self._call_app(environ, start_response)
        if environ["PATH_INFO"].startswith("/health") and is_ip_address(host):
            # Health probes of load balancers know the address of this machine only.
            return self._call_app({**environ, "HTTP_HOST": settings.APP_HOST}, start_response)
        try:
            status, headers, body = self.serve_site(environ, host)
        except (RoutesUnavailable, DatabaseError, Release.DoesNotExist, RenderFailed) as error:
            # These lines have no request of Django, and must not carry the id of this thread's last one.
            structlog.contextvars.clear_contextvars()
            log.warning(
                "page_unavailable",
                request_id=uuid7().hex,
                error=type(error).__name__,
                exc_info=isinstance(error, RenderFailed),
            )
            status, headers, body = plain_response(
                "503 Service Unavailable", _UNAVAILABLE_HTML, ("Retry-After", "2")
            )
        start_response(status, headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _call_app(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Call Django, after reading the request body into memory.

        A chunked body gets its Content-Length here, because Django reads no body without one.
        """
        if environ.get("CONTENT_LENGTH", "") in {"", "0"} and "HTTP_TRANSFER_ENCODING" not in environ:
            return self.app(environ, start_response)
        try:
            body = self.body_reader.read_body(environ, settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        except DomainError as refusal:
            response = problem_response(
                refusal.status, code=refusal.code, detail=refusal.message, headers=refusal.headers
            )
            start_response(f"{response.status_code} {response.reason_phrase}", list(response.items()))
            return [response.content]
        return self.app(
            {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}, start_response
        )

    def serve_site(self, environ: Environ, host: str) -> WsgiResponse:
        """Answer a request for the site at `host`.

        Raises RoutesUnavailable, DatabaseError, Release.DoesNotExist and RenderFailed when it cannot.
        """
        subdomain = host.removesuffix(self.sites_domain_suffix)
        if subdomain == host or not LABEL.match(subdomain):
            return plain_response("404 Not Found", _SITE_NOT_FOUND_HTML)
        route = self.routes.get_route(subdomain, host)
        path = environ["PATH_INFO"]
        if path.startswith("/_/"):
            return self._call_mount(environ, route, path)
        if route.release_id is not None and environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
            return plain_response("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
        try:
            return self._serve_page(environ, route, path)
        except Release.DoesNotExist:
            # Row-level security shows the live release only: another one was published since the route was
            # loaded.
            return self._serve_page(environ, self.routes.reload_route(subdomain, host), path)

    def _serve_page(self, environ: Environ, route: Route, path: str) -> WsgiResponse:
        """Answer with the page of a route at `path`. Raises Release.DoesNotExist."""
        if route.release_id is None:
            return plain_response("404 Not Found", _SITE_NOT_FOUND_HTML)
        path_without_slash = path.rstrip("/")
        if path_without_slash != path and (
            path_without_slash in route.paths or f"{path_without_slash}/".startswith(f"{route.posts_path}/")
        ):
            return redirect_permanently(quote(path_without_slash, encoding="latin-1"), environ)
        page = self.pages.get_page(route, path)
        if page.status.startswith("404") and (new_path := moved_post_path(route, path)):
            return redirect_permanently(new_path, environ)
        variant = page.variants[choose_encoding(environ.get("HTTP_ACCEPT_ENCODING", ""))]
        if page.status.startswith("200") and matches_if_none_match(
            environ.get("HTTP_IF_NONE_MATCH", ""), variant.etag
        ):
            headers = [
                header
                for header in variant.headers
                if header[0] not in {"Content-Length", "Content-Type", "Content-Encoding"}
            ]
            return "304 Not Modified", headers, b""
        return page.status, variant.headers, variant.body

    def _call_mount(self, environ: Environ, route: Route, path: str) -> WsgiResponse:
        """Call the handler that is mounted at `path`, or answer 404."""
        for prefix, (handler, allow_unpublished, max_body_bytes) in _mounts.items():
            if path.startswith(prefix) and (allow_unpublished or route.release_id):
                if max_body_bytes and environ["REQUEST_METHOD"] == "POST":
                    try:
                        body = self.body_reader.read_body(environ, max_body_bytes + 1)
                    except DomainError as refusal:
                        status = f"{refusal.status} {HTTPStatus(refusal.status).phrase}"
                        return plain_response(status, b"", *refusal.headers.items())
                    environ = {**environ, "wsgi.input": io.BytesIO(body)}
                return handler(environ, route)
        return plain_response("404 Not Found", b"" if route.release_id else _SITE_NOT_FOUND_HTML)


def plain_response(status: str, body: bytes, *extra_headers: tuple[str, str]) -> WsgiResponse:
    """Return a small uncached HTML response that is not a page of a site."""
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'"),
    ]
    return status, [*headers, *SITE_SECURITY_HEADERS, *extra_headers], body


def redirect_permanently(path: str, environ: Environ) -> WsgiResponse:
    """Return a 301 to another path of the same host, with the query string of the request."""
    return plain_response("301 Moved Permanently", b"", ("Location", with_query(path, environ)))


def with_query(url: str, environ: Environ) -> str:
    """Return `url` with the query string of the request."""
    query = environ.get("QUERY_STRING", "")
    return f"{url}?{query}" if query else url


@lru_cache(maxsize=4096)
def parse_host_header(header: str) -> str:
    """Return the host name of a Host header in lower case, without port and final dot.

    Returns `""` when the value is not a host name.
    """
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
    """Return whether `host` is an IPv4 address, or an IPv6 address with or without brackets."""
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


def serve_picture(environ: Environ, route: Route) -> WsgiResponse:
    """Answer with a shipped picture. Its path contains a digest, so browsers may cache it without end."""
    path = shipped_files().get(environ["PATH_INFO"])
    if path is None:
        return plain_response("404 Not Found", b"")
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return plain_response("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
    body = read_picture(str(path))
    headers = [
        ("Content-Type", mimetypes.types_map.get(path.suffix, "image/webp")),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "public, max-age=31536000, immutable"),
        ("Content-Security-Policy", "default-src 'none'; sandbox"),
    ]
    return "200 OK", [*headers, *SITE_SECURITY_HEADERS], body


@lru_cache(maxsize=64)
def read_picture(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
