"""The bytes of published pages: from this process's memory, else Redis, else rendered from the release.

A release never changes, so neither do its pages: nothing here is ever stale, only forgotten.
"""

import gzip
import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape

import brotli
from django.conf import settings
from django.db import close_old_connections
from pydantic import ValidationError

from core import cache, metrics, tenancy
from sites import render
from sites.models import Release
from sites.routing import Route
from sites.themes import Theme, icon_colors

KEPT_SECONDS = 7 * 24 * 3600
MISSING = ""  # the place of a release's "not found" page
Headers = list[tuple[str, str]]

SAFE: Headers = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()"),
    *([("Strict-Transport-Security", "max-age=31536000")] if settings.SECURE_HSTS_SECONDS else []),
]


class RenderFailed(Exception):
    """What is stored cannot be rendered."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One encoding of a page, ready to send."""

    etag: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """A page in every encoding; `size` is what it takes in memory, in bytes."""

    status: str
    variants: dict[str, Variant]
    size: int


def make_page(body: bytes, *, kind: str, csp: str, status: str = "200 OK") -> Page:
    """Compress once, build the headers once."""
    digest = hashlib.sha256(body + csp.encode()).hexdigest()[:20]
    encoded = {"identity": body, "gzip": gzip.compress(body, 6, mtime=0), "br": brotli.compress(body, quality=6)}
    variants = {}
    for encoding, content in encoded.items():
        etag = f'"{digest}-{encoding}"'
        headers = [
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("ETag", etag),
            ("Cache-Control", "public, max-age=0" if status.startswith("200") else "no-store"),
            ("Vary", "Accept-Encoding"),
            ("Content-Security-Policy", csp),
            *SAFE,
        ]
        if encoding != "identity":
            headers.append(("Content-Encoding", encoding))
        variants[encoding] = Variant(etag, headers, content)
    return Page(status, variants, sum(len(content) for content in encoded.values()) + 2048)


class Pages:
    """The pages of one process, the longest unused forgotten first, at most `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self._pages: OrderedDict[tuple[UUID, str, str], Page] = OrderedDict()
        self._limit = limit
        self._size = 0
        self._lock = threading.Lock()
        self._memory = metrics.pages.labels("memory")

    def find(self, route: Route, path: str) -> Page:
        """The page at `path`; the site's own 404 when it has none. Raises DatabaseError when it must be rendered and cannot."""
        assert route.release_id is not None
        shown = path if path in route.paths or path in GENERATED else MISSING
        place = (route.release_id, shown, route.base_url)
        page = self._pages.get(place)
        if page is not None:
            self._memory.inc()
            return page
        page = self._fetch(route, route.release_id, shown)
        with self._lock:
            if place not in self._pages:
                self._pages[place] = page
                self._size += page.size
            while self._size > self._limit and len(self._pages) > 1:
                self._size -= self._pages.popitem(last=False)[1].size
        return page

    def _fetch(self, route: Route, release_id: UUID, path: str) -> Page:
        status = "200 OK" if path else "404 Not Found"
        name = f"page:{render.renderer_version()}:{release_id}:{path}:{route.base_url}"
        kept = cache.get_bytes(str(route.site_id), name)
        if kept is not None:
            metrics.pages.labels("redis").inc()
            facts, _, body = kept.partition(b"\n")
            kind, csp = json.loads(facts)
        else:
            metrics.pages.labels("rendered").inc()
            try:
                kind, csp, body = _render(route, release_id, path)
            except ValidationError as error:  # stored by an older version, or changed behind our back
                raise RenderFailed from error
            cache.set_bytes(
                str(route.site_id), name, json.dumps([kind, csp]).encode() + b"\n" + body, seconds=KEPT_SECONDS
            )
        return make_page(body, kind=kind, csp=csp, status=status)


def _render(route: Route, release_id: UUID, path: str) -> tuple[str, str, bytes]:
    """Media type, policy and bytes. One query."""
    try:
        with tenancy.context(tenancy.PUBLIC):
            blueprint = Release.objects.values_list("blueprint", flat=True).get(pk=release_id)
    finally:
        close_old_connections()
    if path in GENERATED:
        kind, make = GENERATED[path]
        return kind, "default-src 'none'", make(blueprint, route.base_url).encode()
    page = render.find_page(blueprint, path)
    if page is None:
        made = render.render_missing(blueprint, base_url=route.base_url)
    else:
        made = render.render_page(blueprint, page, base_url=route.base_url)
    return "text/html; charset=utf-8", made.csp, made.html


def sitemap(blueprint: dict[str, Any], base_url: str) -> str:
    """Every page that may be indexed (sitemaps.org 0.9)."""
    hidden = blueprint["settings"].get("seo", {}).get("noindex", False)
    listed = [
        page["path"] for page in blueprint["pages"] if not hidden and not page.get("seo", {}).get("noindex", False)
    ]
    addresses = "".join(f"<url><loc>{escape(base_url + path)}</loc></url>" for path in listed)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{addresses}</urlset>\n'


def robots(blueprint: dict[str, Any], base_url: str) -> str:
    """RFC 9309. A development host, and a site that wants no index, keep every crawler out."""
    hidden = settings.DEVELOPMENT or blueprint["settings"].get("seo", {}).get("noindex", False)
    return (
        "User-agent: *\nDisallow: /\n"
        if hidden
        else f"User-agent: *\nDisallow: /_/\n\nSitemap: {base_url}/sitemap.xml\n"
    )


def icon(blueprint: dict[str, Any], base_url: str) -> str:
    """The first letter of the site's title on its accent colour, as SVG."""
    accent, on_accent = icon_colors(Theme.model_validate(blueprint.get("theme", {})))
    letter = escape(blueprint["settings"]["title"].strip()[:1].upper())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="{accent}"/>'
        f'<text x="32" y="45" font-family="sans-serif" font-size="38" font-weight="700" text-anchor="middle" fill="{on_accent}">'
        f"{letter}</text></svg>\n"
    )


GENERATED: dict[str, tuple[str, Callable[[dict[str, Any], str], str]]] = {
    "/sitemap.xml": ("application/xml; charset=utf-8", sitemap),
    "/favicon.svg": ("image/svg+xml; charset=utf-8", icon),
    "/robots.txt": ("text/plain; charset=utf-8", robots),
}
