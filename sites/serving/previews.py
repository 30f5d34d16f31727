"""Previews: the draft, one revision or one post, below `/_/preview/<token>/` on the host of the site."""

from copy import deepcopy
from typing import Any
from urllib.parse import quote

from django.db import close_old_connections
from django.utils import timezone
from pydantic import ValidationError

from core import tenancy
from core.admission.costs import ExpensiveWorkBusy, TooManyAtOnce, expensive_work_of, rate_limit_key
from core.http.client_address import client_address_of_environ, client_network
from sites.blueprint.schema import PostSettings
from sites.models import Draft, Preview, Release, Revision
from sites.selectors import PublishedPosts, get_blueprint
from sites.services.previews import PREVIEW_PATH_PREFIX, find_preview_by_token
from sites.serving import page_cache, post_pages, rendering
from sites.serving.generated_files import GENERATED_FILES
from sites.serving.host_routing import Route
from sites.serving.page_cache import SITE_SECURITY_HEADERS, RenderFailed
from sites.serving.site_server import (
    Environ,
    WsgiResponse,
    parse_host_header,
    plain_response,
    serve_picture,
    with_query,
)
from sites.subdomains import address_of, host_of

_PREVIEW_NOT_FOUND_HTML = (
    b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    b"<meta name=robots content=noindex><title>No preview here</title><h1>There is no preview here</h1>"
    b"<p>The link has expired or was revoked. Ask for a new one.</p>\n"
)
_PREVIEW_BUSY_HTML = (
    b"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    b"<meta name=robots content=noindex><title>One moment</title><h1>One moment, please</h1>"
    b"<p>Too many previews are being made right now. Try again in a few seconds.</p>\n"
)


def serve_preview(environ: Environ, route: Route) -> WsgiResponse:
    """Answer a request for a page or a picture of a preview.

    A link that is forged, expired, revoked, or opened on the host of another site gets the same 404. Raises
    RenderFailed when the stored blueprint is not valid.
    """
    token, slash, rest = environ["PATH_INFO"].removeprefix(PREVIEW_PATH_PREFIX).partition("/")
    if environ["REQUEST_METHOD"] not in {"GET", "HEAD"}:
        return plain_response("405 Method Not Allowed", b"", ("Allow", "GET, HEAD"))
    try:
        with tenancy.context(tenancy.SYSTEM):
            preview = find_preview_by_token(token, now=timezone.now())
            if preview is None or host_of(preview.site.subdomain) != parse_host_header(environ["HTTP_HOST"]):
                return plain_response("404 Not Found", _PREVIEW_NOT_FOUND_HTML)
            if rest.startswith("_/a/"):
                return serve_picture({**environ, "PATH_INFO": f"/{rest}"}, route)
            if not slash:
                return _redirect(f"{PREVIEW_PATH_PREFIX}{token}/", environ)
            caller = rate_limit_key(None, client_network(client_address_of_environ(environ)))
            with expensive_work_of(caller):
                return _preview_page(preview, environ, f"/{rest}", f"{PREVIEW_PATH_PREFIX}{token}")
    except (TooManyAtOnce, ExpensiveWorkBusy) as error:
        retry = ("Retry-After", error.headers["Retry-After"])
        return plain_response("503 Service Unavailable", _PREVIEW_BUSY_HTML, retry)
    except ValidationError as error:  # an older version of this software stored it, and it is not valid now
        raise RenderFailed from error
    finally:
        close_old_connections()


def _redirect(url: str, environ: Environ) -> WsgiResponse:
    return plain_response("302 Found", b"", ("Location", with_query(url, environ)))


def _preview_page(preview: Preview, environ: Environ, path: str, prefix: str) -> WsgiResponse:
    """Answer with the page at `path` of the preview; `prefix` is the path of the preview itself."""
    blueprint = _preview_blueprint(preview, path)
    context = rendering.RenderContext(
        address_of(preview.site.subdomain), PublishedPosts(preview.site_id), prefix
    )
    posts_path = PostSettings.model_validate(blueprint["settings"].get("posts", {})).path
    if preview.post is not None and path != "/favicon.svg":
        path_of_post = post_pages.post_path(posts_path, slug=preview.post.slug)
        if path == "/":
            return _redirect(prefix + path_of_post, environ)
        if path != path_of_post:  # this link shows one post only: any other page is the published one
            return _redirect(context.base_url + quote(path, encoding="latin-1"), environ)
        return _html_response(post_pages.render_post(blueprint, preview.post, context))
    is_page = any(page["path"] == path for page in blueprint["pages"])
    route = None if is_page else post_pages.parse_post_path(page_cache.decode_path(path), posts_path)
    if not is_page and path not in GENERATED_FILES and route is None:
        return _html_response(rendering.render_not_found(blueprint, context), "404 Not Found")
    content = page_cache.render_path(blueprint, path, route, context)
    if content is None:
        return _html_response(rendering.render_not_found(blueprint, context), "404 Not Found")
    return _uncached_response("200 OK", content)


def _preview_blueprint(preview: Preview, path: str) -> dict[str, Any]:
    """Return the blueprint of a preview. The page at `path` is a copy, because rendering changes it."""
    # Blueprints that older versions of this software saved may have no member `pages`.
    blueprint = {"pages": [], **_stored_blueprint(preview)}
    blueprint["pages"] = [deepcopy(page) if page["path"] == path else page for page in blueprint["pages"]]
    return blueprint


def _stored_blueprint(preview: Preview) -> dict[str, Any]:
    """Return the blueprint of the revision, of the live release for a post, or else of the draft."""
    if preview.revision_id is not None:
        return get_blueprint(Revision.objects.filter(pk=preview.revision_id))
    if preview.post is not None and preview.site.live_release_id:
        return get_blueprint(Release.objects.filter(pk=preview.site.live_release_id))
    return get_blueprint(Draft.objects.filter(site=preview.site_id))


def _html_response(page: rendering.RenderedPage, status: str = "200 OK") -> WsgiResponse:
    content = page_cache.PageContent(page_cache.HTML_CONTENT_TYPE, page.csp, page.html)
    return _uncached_response(status, content)


def _uncached_response(status: str, content: page_cache.PageContent) -> WsgiResponse:
    """Return a response that is neither cached nor indexed.

    The URL of a preview is its secret, so the page sends no referrer.
    """
    headers = [
        ("Content-Type", content.content_type),
        ("Content-Length", str(len(content.body))),
        ("Cache-Control", "no-store"),
        ("X-Robots-Tag", "noindex, nofollow"),
        ("Content-Security-Policy", content.csp),
        *(header for header in SITE_SECURITY_HEADERS if header[0] != "Referrer-Policy"),
        ("Referrer-Policy", "no-referrer"),
    ]
    return status, headers, content.body
