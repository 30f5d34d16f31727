"""The bytes of published pages: from this process's memory, else Redis, else rendered from the release.

A release never changes, and changes of posts are counted, so what is here is never stale, only forgotten. One
thing waits for the next change of a post: the new name of somebody who wrote one.
"""

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from xml.sax.saxutils import escape

import brotli
from django.conf import settings
from django.db import close_old_connections
from pydantic import ValidationError

from core import tenancy
from core.observability import metrics
from core.storage import cache
from core.storage.memory_cache import MemoryCache
from sites.blueprint.themes import Theme, icon_colors
from sites.models import Release, WithOnePage
from sites.selectors import PublishedPosts
from sites.serving import post_pages, rendering
from sites.serving.host_routing import Route

MAX_ADDRESSES = 50_000  # of one sitemap (sitemaps.org)
KEPT_SECONDS = 7 * 24 * 3600
MISSING = ""  # the place of a release's "not found" page
Headers = list[tuple[str, str]]
Place = tuple[UUID, int, str, str]  # release, state of the posts, path, base address

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
    encoded = {
        "identity": body,
        "gzip": gzip.compress(body, 6, mtime=0),
        "br": brotli.compress(body, quality=6),
    }
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


class PageCache:
    """The pages of one process, at most `limit` bytes; the least recently used page is evicted first."""

    def __init__(self, limit: int) -> None:
        self._pages: MemoryCache[Place, Page] = MemoryCache(limit, size_of=lambda page: page.size)
        self._memory = metrics.pages.labels("memory")

    def find(self, route: Route, path: str) -> Page:
        """The page at `path`; the site's own 404 when it has none.

        Raises DatabaseError when it must be rendered and cannot.
        """
        release_id = route.release_id
        assert release_id is not None
        shown = path if path in route.paths or path in GENERATED or _wanted(route, path) else MISSING
        place = (release_id, route.posts_version, shown, route.base_url)
        page = self._pages.get(place)
        if page is not None:
            self._memory.inc()
            return page
        page = self._pages.get_or_create(place, lambda: self._fetch(route, release_id, shown))
        if (
            page is None
        ):  # below the posts' path, and no post: not kept, for there is no end of such addresses
            return self.find(route, MISSING)
        return page

    def _fetch(self, route: Route, release_id: UUID, path: str) -> Page | None:
        status = "200 OK" if path else "404 Not Found"
        name = (
            f"page:{rendering.renderer_version()}:{release_id}:{route.posts_version}:{path}:{route.base_url}"
        )
        kept = cache.get_bytes(str(route.site_id), name)
        if kept is not None:
            metrics.pages.labels("redis").inc()
            facts, _, body = kept.partition(b"\n")
            kind, csp = json.loads(facts)
            return make_page(body, kind=kind, csp=csp, status=status)
        try:
            made = _render(route, release_id, path)
        except ValidationError as error:  # stored by an older version, or changed behind our back
            raise RenderFailed from error
        if made is None:
            return None
        metrics.pages.labels("rendered").inc()
        kind, csp, body = made
        cache.set_bytes(
            str(route.site_id), name, json.dumps([kind, csp]).encode() + b"\n" + body, seconds=KEPT_SECONDS
        )
        return make_page(body, kind=kind, csp=csp, status=status)


def decoded(path: str) -> str:
    """PATH_INFO as visitors wrote it: WSGI gives its bytes as Latin-1.

    Empty when it is not UTF-8, or holds NUL.
    """
    try:
        text = path.encode("latin-1").decode()
    except UnicodeError:
        return ""
    return "" if "\x00" in text else text


def _wanted(route: Route, path: str) -> post_pages.PostRoute | None:
    if path == f"{route.posts_path}/feed.xml":
        return post_pages.PostRoute(feed=True)
    return post_pages.read(decoded(path), route.posts_path)


def moved(route: Route, path: str) -> str | None:
    """Where a post is by now that once was at `path`. At most one query."""
    wanted = _wanted(route, path)
    if wanted is None or not wanted.slug or path in route.paths or route.site_id is None:
        return None
    try:
        with tenancy.context(tenancy.PUBLIC):
            slug = PublishedPosts(route.site_id).moved(wanted.slug)
    finally:
        close_old_connections()
    return post_pages.address(route.posts_path, slug=slug) if slug else None


def _render(route: Route, release_id: UUID, path: str) -> tuple[str, str, bytes] | None:
    """Media type, policy and bytes; None when there is nothing. One query, and those for posts."""
    assert route.site_id is not None
    scene = rendering.RenderContext(route.base_url, PublishedPosts(route.site_id))
    try:
        with tenancy.context(tenancy.PUBLIC):
            wanted = None if path in route.paths or not path else _wanted(route, path)
            if wanted and not post_pages.is_there(PublishedPosts(route.site_id), wanted):
                return None
            blueprint = Release.objects.values_list(WithOnePage("blueprint", path), flat=True).get(
                pk=release_id
            )
            return produce(blueprint, path, wanted, scene)
    finally:
        close_old_connections()


def produce(
    blueprint: dict[str, Any], path: str, wanted: post_pages.PostRoute | None, scene: rendering.RenderContext
) -> tuple[str, str, bytes] | None:
    """What `path` shows of `blueprint`: media type, policy and bytes.

    The site's 404 where the path is empty.
    """
    assert scene.shelf is not None
    if path in GENERATED:
        kind, make = GENERATED[path]
        return kind, "default-src 'none'", make(blueprint, scene.base_url, scene.shelf).encode()
    page = rendering.find_page(blueprint, path)
    if page is not None:
        made: rendering.Rendered | None = rendering.render_page(blueprint, page, scene)
    elif wanted and wanted.feed:
        return (
            "application/atom+xml; charset=utf-8",
            "default-src 'none'",
            post_pages.feed(blueprint, scene.base_url, scene.shelf).encode(),
        )
    elif wanted:
        made = post_pages.render_wanted(blueprint, wanted, scene)
    else:
        made = rendering.render_missing(blueprint, scene)
    return ("text/html; charset=utf-8", made.csp, made.html) if made else None


def sitemap(blueprint: dict[str, Any], base_url: str, shelf: PublishedPosts) -> str:
    """Every page and post that may be indexed (sitemaps.org 0.9)."""
    hidden = blueprint["settings"].get("seo", {}).get("noindex", False)
    listed = [
        page["path"]
        for page in blueprint["pages"]
        if not hidden and not page.get("seo", {}).get("noindex", False)
    ]
    if not hidden:
        listed += post_pages.addresses(blueprint, shelf, most=MAX_ADDRESSES - len(listed))
    addresses = "".join(f"<url><loc>{escape(base_url + path)}</loc></url>" for path in listed)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{addresses}</urlset>\n'


def robots(blueprint: dict[str, Any], base_url: str, shelf: PublishedPosts) -> str:
    """RFC 9309. A development host, and a site that wants no index, keep every crawler out."""
    hidden = settings.DEVELOPMENT or blueprint["settings"].get("seo", {}).get("noindex", False)
    return (
        "User-agent: *\nDisallow: /\n"
        if hidden
        else f"User-agent: *\nDisallow: /_/\n\nSitemap: {base_url}/sitemap.xml\n"
    )


def icon(blueprint: dict[str, Any], base_url: str, shelf: PublishedPosts) -> str:
    """The first letter of the site's title on its accent colour, as SVG."""
    accent, on_accent = icon_colors(Theme.model_validate(blueprint.get("theme", {})))
    letter = escape(post_pages.printable(blueprint["settings"]["title"]).strip()[:1].upper())
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64"><rect width="64" height="64" rx="14" fill="{accent}"/>'
        f'<text x="32" y="45" font-family="sans-serif" font-size="38" font-weight="700" text-anchor="middle" fill="{on_accent}">'
        f"{letter}</text></svg>\n"
    )


GENERATED: dict[str, tuple[str, Callable[[dict[str, Any], str, PublishedPosts], str]]] = {
    "/sitemap.xml": ("application/xml; charset=utf-8", sitemap),
    "/favicon.svg": ("image/svg+xml; charset=utf-8", icon),
    "/robots.txt": ("text/plain; charset=utf-8", robots),
}
