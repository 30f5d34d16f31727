"""What a preview link shows: the draft, one revision or one post, below `/_/preview/<token>/` on the site's
own host.
"""

from typing import Any
from urllib.parse import quote

from django.db import close_old_connections
from django.utils import timezone
from pydantic import ValidationError

from core import tenancy
from sites.blueprint.schema import PostSettings
from sites.models import Draft, Preview, Release
from sites.selectors import PublishedPosts
from sites.services.previews import PREFIX, find_preview
from sites.serving import page_cache, post_pages, rendering, site_server
from sites.serving.host_routing import Route
from sites.serving.page_cache import SAFE, Headers, RenderFailed
from sites.serving.site_server import Environ, plain_response
from sites.subdomains import address_of, host_of

Answer = tuple[str, Headers, bytes]


def serve_preview(environ: Environ, route: Route) -> Answer:
    """A page of a preview. What is not there, expired, revoked or another site's is the same 404."""
    token, slash, rest = environ["PATH_INFO"].removeprefix(PREFIX).partition("/")
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return plain_response("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
    try:
        with tenancy.context(tenancy.SYSTEM):
            preview = find_preview(token, now=timezone.now())
            if preview is None or host_of(preview.site.subdomain) != site_server.parse_host_header(
                environ["HTTP_HOST"]
            ):
                return plain_response("404 Not Found", _PREVIEW_NOT_FOUND_HTML)
            if rest.startswith("_/a/"):
                return site_server.serve_picture({**environ, "PATH_INFO": f"/{rest}"}, route)
            return (
                _preview_page(preview, f"/{rest}", f"{PREFIX}{token}")
                if slash
                else _redirect(f"{PREFIX}{token}/")
            )
    except ValidationError as error:  # stored by an older version of us, and not valid any more
        raise RenderFailed from error
    finally:
        close_old_connections()


_PREVIEW_NOT_FOUND_HTML = b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><meta name=robots content=noindex><title>No preview here</title><h1>There is no preview here</h1><p>The link has expired or was revoked. Ask for a new one.</p>\n"


def _redirect(address: str) -> Answer:
    return plain_response("302 Found", b"", ("Location", address))


def _preview_page(preview: Preview, path: str, prefix: str) -> Answer:
    blueprint = _preview_blueprint(preview)
    scene = rendering.RenderContext(
        address_of(preview.site.subdomain), PublishedPosts(preview.site_id), prefix
    )
    posts_path = PostSettings.model_validate(blueprint["settings"].get("posts", {})).path
    if preview.post is not None and path != "/favicon.svg":
        address = post_pages.post_path(posts_path, slug=preview.post.slug)
        if path == "/":
            return _redirect(prefix + address)
        if path != address:  # this link shows one post; everything else is as visitors have it
            return _redirect(scene.base_url + quote(path, encoding="latin-1"))
        return _html_response(post_pages.render_post(blueprint, preview.post, scene))
    known = any(page["path"] == path for page in blueprint["pages"])
    wanted = None if known else post_pages.parse_post_path(page_cache.decoded(path), posts_path)
    if not known and path not in page_cache.GENERATED and wanted is None:
        return _html_response(rendering.render_not_found(blueprint, scene), "404 Not Found")
    made = page_cache.produce(blueprint, path, wanted, scene)
    if made is None:
        return _html_response(rendering.render_not_found(blueprint, scene), "404 Not Found")
    kind, csp, body = made
    return _uncached_response("200 OK", kind, csp, body)


def _preview_blueprint(preview: Preview) -> dict[str, Any]:
    return {"pages": [], **_stored_blueprint(preview)}  # what an older version of us saved may have none


def _stored_blueprint(preview: Preview) -> dict[str, Any]:
    if preview.revision is not None:
        return dict(preview.revision.blueprint)
    if preview.post is not None and preview.site.live_release_id:
        return dict(Release.objects.get(pk=preview.site.live_release_id).blueprint)
    return dict(Draft.objects.get(site=preview.site_id).blueprint)


def _html_response(made: rendering.RenderedPage, status: str = "200 OK") -> Answer:
    return _uncached_response(status, "text/html; charset=utf-8", made.csp, made.html)


def _uncached_response(status: str, kind: str, csp: str, body: bytes) -> Answer:
    """Never kept, never indexed, and the address, which is the key, goes to nobody."""
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        ("X-Robots-Tag", "noindex, nofollow"),
        ("Content-Security-Policy", csp),
        *(header for header in SAFE if header[0] != "Referrer-Policy"),
        ("Referrer-Policy", "no-referrer"),
    ]
    return status, headers, body
