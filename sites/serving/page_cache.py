"""The cache of published pages: in the memory of each process, then in Redis, else rendered from the release.

A release never changes, and `Site.posts_version` counts the changes of posts. Both are part of the key, so a
cached page is never outdated. One exception: a changed name of an author appears with the next change of a
post.
"""

import gzip
import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import brotli
from django.conf import settings
from django.db import close_old_connections
from pydantic import ValidationError

from core import tenancy
from core.observability import metrics
from core.storage import cache
from core.storage.memory_cache import MemoryCache
from sites.database_functions import BlueprintWithOnePage
from sites.models import Release
from sites.selectors import PublishedPosts
from sites.serving import post_pages, rendering
from sites.serving.generated_files import GENERATED_FILES
from sites.serving.host_routing import Route

REDIS_TTL_SECONDS = 7 * 24 * 3600
NOT_FOUND_PATH = ""  # the cache key of the 404 page, which is the same for all missing paths
HTML_CONTENT_TYPE = "text/html; charset=utf-8"
NO_SUBRESOURCES_CSP = "default-src 'none'"

Headers = list[tuple[str, str]]
PageKey = tuple[UUID, int, str, str]  # release id, posts version, path, base URL

SITE_SECURITY_HEADERS: Headers = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=()"),
    *([("Strict-Transport-Security", "max-age=31536000")] if settings.SECURE_HSTS_SECONDS else []),
]


class RenderFailed(Exception):
    """The stored blueprint or post is not valid, so it cannot be rendered."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A page in one encoding, ready to send."""

    etag: str
    headers: Headers
    body: bytes


@dataclass(frozen=True, slots=True)
class EncodedPage:
    """A page in every encoding. `size` is its approximate size in memory, in bytes."""

    status: str
    variants: dict[str, Variant]
    size: int


@dataclass(frozen=True, slots=True)
class PageContent:
    """The content of a path, without compression."""

    content_type: str
    csp: str
    body: bytes


def encode_page(content: PageContent, *, status: str = "200 OK") -> EncodedPage:
    """Compress `content` and build the headers of each encoding, once for all requests."""
    digest = hashlib.sha256(content.body + content.csp.encode()).hexdigest()[:20]
    encoded_bodies = {
        "identity": content.body,
        "gzip": gzip.compress(content.body, 6, mtime=0),
        "br": brotli.compress(content.body, quality=6),
    }
    variants = {}
    for encoding, body in encoded_bodies.items():
        etag = f'"{digest}-{encoding}"'
        headers = [
            ("Content-Type", content.content_type),
            ("Content-Length", str(len(body))),
            ("ETag", etag),
            ("Cache-Control", "public, max-age=0" if status.startswith("200") else "no-store"),
            ("Vary", "Accept-Encoding"),
            ("Content-Security-Policy", content.csp),
            *SITE_SECURITY_HEADERS,
        ]
        if encoding != "identity":
            headers.append(("Content-Encoding", encoding))
        variants[encoding] = Variant(etag, headers, body)
    headers_size = 2048  # an estimate for the headers of all variants
    return EncodedPage(status, variants, sum(len(body) for body in encoded_bodies.values()) + headers_size)


class PageCache:
    """The pages of one process, at most `limit` bytes; the least recently used page is evicted first."""

    def __init__(self, limit: int) -> None:
        self._pages: MemoryCache[PageKey, EncodedPage] = MemoryCache(limit, size_of=lambda page: page.size)
        self._memory_hits = metrics.pages.labels("memory")

    def get_page(self, route: Route, path: str) -> EncodedPage:
        """Return the page at `path`, or the 404 page of the site when it has no such path.

        `route` must have a release. Raises DatabaseError, Release.DoesNotExist and RenderFailed when the page
        is not cached and cannot be rendered.
        """
        release_id = route.release_id
        assert release_id is not None
        may_exist = path in route.paths or path in GENERATED_FILES or _post_route(route, path) is not None
        cached_path = path if may_exist else NOT_FOUND_PATH
        key = (release_id, route.posts_version, cached_path, route.base_url)
        page = self._pages.get(key)
        if page is not None:
            self._memory_hits.inc()
            return page
        page = self._pages.get_or_create(key, lambda: self._fetch(route, release_id, cached_path))
        if page is None:
            # There is no such post. The path is not cached, because there is no limit to such paths.
            return self.get_page(route, NOT_FOUND_PATH)
        return page

    def _fetch(self, route: Route, release_id: UUID, path: str) -> EncodedPage | None:
        """Take a page from Redis, or render it and store it there; None when no post is at `path`."""
        status = "404 Not Found" if path == NOT_FOUND_PATH else "200 OK"
        key = (
            f"page:{rendering.renderer_version()}:{release_id}:{route.posts_version}:{path}:{route.base_url}"
        )
        cached = cache.get_bytes(str(route.site_id), key)
        if cached is not None:
            metrics.pages.labels("redis").inc()
            metadata, _, body = cached.partition(b"\n")
            content_type, csp = json.loads(metadata)
            return encode_page(PageContent(content_type, csp, body), status=status)
        try:
            content = _render_release(route, release_id, path)
        except ValidationError as error:  # an older version stored it, or the database was changed directly
            raise RenderFailed from error
        if content is None:
            return None
        metrics.pages.labels("rendered").inc()
        metadata = json.dumps([content.content_type, content.csp]).encode()
        cache.set_bytes(str(route.site_id), key, metadata + b"\n" + content.body, seconds=REDIS_TTL_SECONDS)
        return encode_page(content, status=status)


def decode_path(path_info: str) -> str:
    """Decode PATH_INFO, which holds the bytes of the URL path as Latin-1 (PEP 3333).

    Returns an empty string when the bytes are not UTF-8 or contain NUL.
    """
    try:
        text = path_info.encode("latin-1").decode()
    except UnicodeError:
        return ""
    return "" if "\x00" in text else text


def _post_route(route: Route, path: str) -> post_pages.PostRoute | None:
    if path == f"{route.posts_path}/feed.xml":
        return post_pages.PostRoute(is_feed=True)
    return post_pages.parse_post_path(decode_path(path), route.posts_path)


def moved_post_path(route: Route, path: str) -> str | None:
    """Return the current path of the post that had `path` before; None otherwise. At most one query."""
    post_route = _post_route(route, path)
    if post_route is None or not post_route.slug or path in route.paths or route.site_id is None:
        return None
    try:
        with tenancy.context(tenancy.PUBLIC):
            slug = PublishedPosts(route.site_id).current_slug(post_route.slug)
    finally:
        close_old_connections()
    return post_pages.post_path(route.posts_path, slug=slug) if slug else None


def _render_release(route: Route, release_id: UUID, path: str) -> PageContent | None:
    """Render `path` of a release; None when no post is there. One query, and those for posts.

    Raises Release.DoesNotExist when the release is not the live one any more.
    """
    assert route.site_id is not None
    posts = PublishedPosts(route.site_id)
    context = rendering.RenderContext(route.base_url, posts)
    is_post_path = path != NOT_FOUND_PATH and path not in route.paths
    post_route = _post_route(route, path) if is_post_path else None
    try:
        with tenancy.context(tenancy.PUBLIC):
            if post_route and not post_pages.post_page_exists(posts, post_route):
                return None
            blueprints = Release.objects.values_list(BlueprintWithOnePage("blueprint", path), flat=True)
            return render_path(blueprints.get(pk=release_id), path, post_route, context)
    finally:
        close_old_connections()


def render_path(
    blueprint: dict[str, Any],
    path: str,
    post_route: post_pages.PostRoute | None,
    context: rendering.RenderContext,
) -> PageContent | None:
    """Render what `blueprint` has at `path`: a generated file, a page, the feed, or posts.

    Without a page and a `post_route` it renders the 404 page. Returns None when `post_route` shows no post.
    """
    assert context.posts is not None
    if path in GENERATED_FILES:
        content_type, generate = GENERATED_FILES[path]
        text = generate(blueprint, context.base_url, context.posts)
        return PageContent(content_type, NO_SUBRESOURCES_CSP, text.encode())
    page = rendering.find_page(blueprint, path)
    if page is None and post_route and post_route.is_feed:
        feed = post_pages.atom_feed(blueprint, context.base_url, context.posts)
        return PageContent("application/atom+xml; charset=utf-8", NO_SUBRESOURCES_CSP, feed.encode())
    rendered: rendering.RenderedPage | None
    if page is not None:
        rendered = rendering.render_page(blueprint, page, context)
    elif post_route:
        rendered = post_pages.render_post_route(blueprint, post_route, context)
    else:
        rendered = rendering.render_not_found(blueprint, context)
    return PageContent(HTML_CONTENT_TYPE, rendered.csp, rendered.html) if rendered else None
