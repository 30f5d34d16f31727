"""Rendering of blueprints: one page of a blueprint becomes HTML and its Content-Security-Policy.

Rendering needs no request, and no database query except for lists of posts. The same release and the same
posts always give the same bytes.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.template.loader import get_template
from django.utils.safestring import mark_safe

from sites.blueprint.block_upgrades import upgrade_page
from sites.blueprint.blocks.fields import Link
from sites.blueprint.blocks.media import FRAME_HOSTS
from sites.blueprint.schema import NavigationItem, Page, Seo, SiteSettings, page_model
from sites.blueprint.themes import Theme, theme_css
from sites.models import Post
from sites.selectors import PublishedPosts
from sites.serving import head_parts
from sites.serving.translations import get_translations, text_direction


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """UTF-8 HTML, and the Content-Security-Policy header to send it with."""

    html: bytes
    csp: str


@dataclass(frozen=True, slots=True)
class RenderContext:
    """Where a page is shown and which posts it can list.

    `base_url` is the URL of the site without a slash at the end. In a preview, `prefix` is put before every
    path within the site.
    """

    base_url: str
    posts: PublishedPosts | None = None
    prefix: str = ""


def find_page(blueprint: dict[str, Any], path: str) -> dict[str, Any] | None:
    """Return the page of `blueprint` at `path`, or None."""
    return next((page for page in blueprint.get("pages", []) if page["path"] == path), None)


def render_page(blueprint: dict[str, Any], page: dict[str, Any], context: RenderContext) -> RenderedPage:
    """Render one page of `blueprint`. Upgrades the blocks of `page` in place.

    Raises pydantic's ValidationError when the stored page is not valid.
    """
    upgrade_page(page)
    model = page_model().model_validate(page)
    return render_template("site/page.html", blueprint, model, context)


def render_not_found(blueprint: dict[str, Any], context: RenderContext) -> RenderedPage:
    """Render the site's page for a path that it does not have (status 404)."""
    translations = get_translations(blueprint["settings"].get("locale", "en"))
    page = Page(id="missing", path="/", title=translations["missing"], seo=Seo(noindex=True))
    return render_template("site/not_found.html", blueprint, page, context)


def render_template(
    template: str,
    blueprint: dict[str, Any],
    page: Page,
    context: RenderContext,
    *,
    extra_variables: dict[str, Any] | None = None,
) -> RenderedPage:
    """Render `template` with the variables of every page, and `extra_variables`, which have precedence."""
    site = SiteSettings.model_validate(blueprint["settings"])
    paths = {other["id"]: context.prefix + other["path"] for other in blueprint.get("pages", [])}
    navigation = [NavigationItem.model_validate(item) for item in blueprint.get("navigation", [])]
    style = theme_css(Theme.model_validate(blueprint.get("theme", {}))) + site_css()
    extra = (
        head_parts.HeadPart(mark_safe(""))
        if context.prefix
        else head_parts.collect_head_parts(base_url=context.base_url)
    )
    post_lists: dict[tuple[int, str | None], list[Post]] = {}
    variables = {
        "site": site,
        "page": page,
        "paths": paths,
        "prefix": context.prefix,
        "published_posts": context.posts,
        "post_lists": post_lists,  # the template tag `latest_posts` keeps each list that it has read here
        "posts_path": site.posts.path,
        "base_url": context.base_url,
        "canonical": context.base_url + page.path,
        "navigation": [_navigation_item(item, page, paths, context.prefix) for item in navigation],
        "title": _document_title(page, site),
        "description": page.seo.description or site.seo.description,
        "social_image": page.seo.image or site.seo.image,
        "noindex": bool(page.seo.noindex or site.seo.noindex or context.prefix),
        "direction": text_direction(site.locale),
        "translations": get_translations(site.locale),
        "style": mark_safe(style),  # noqa: S308 - our own CSS, and colours that match #rrggbb
        "h1_block_id": _h1_block_id(page),
        "extra_head": extra.head_html,
        "extra_body": extra.body_html,
        **(extra_variables or {}),
    }
    html = get_template(template).render(variables)
    return RenderedPage(html.encode(), _content_security_policy(style, extra.script_hashes))


def _h1_block_id(page: Page) -> str:
    """Return the id of the block that shows the page's h1; empty when the template must add one."""
    first_block = page.blocks[0] if page.blocks else None
    return first_block.id if first_block is not None and first_block.type in {"hero", "heading"} else ""


def _navigation_item(item: NavigationItem, page: Page, paths: dict[str, str], prefix: str) -> dict[str, Any]:
    url = link_url(item.link, paths, prefix)
    return {"label": item.label, "href": url, "current": url == prefix + page.path}


def link_url(link: Link, paths: dict[str, str], prefix: str) -> str:
    """Return the URL of a link. `paths` maps page ids to paths; an unknown page leads to the home page."""
    if link.href is None:
        return paths.get(link.page or "", f"{prefix}/")
    return add_path_prefix(link.href, prefix)


def add_path_prefix(url: str, prefix: str) -> str:
    """Put `prefix` before a path of this site, so that it stays within the preview."""
    return prefix + url if url.startswith("/") else url


def _document_title(page: Page, site: SiteSettings) -> str:
    """Return the text of the `title` element."""
    if page.seo.title:
        return page.seo.title
    if page.path == "/":
        return site.seo.title or site.title
    return f"{page.title} · {site.title}"


def _content_security_policy(style: str, script_hashes: list[str]) -> str:
    style_hash = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    scripts = " ".join(f"'sha256-{script_hash}'" for script_hash in script_hashes) or "'none'"
    connect = "'self'" if script_hashes else "'none'"
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; img-src 'self'; "
        f"script-src {scripts}; connect-src {connect}; "
        f"frame-src {' '.join(FRAME_HOSTS)}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def site_css() -> str:
    """Return the stylesheet of published pages, minified."""
    css = (settings.BASE_DIR / "templates" / "site" / "site.css").read_text()
    return minify_css(css)


def minify_css(css: str) -> str:
    """Remove comments, indentation and empty lines. Strings in `css` must not contain `/*`."""
    parts = []
    remaining = css
    while "/*" in remaining:
        before, _, after = remaining.partition("/*")
        parts.append(before)
        remaining = after.partition("*/")[2]
    lines = (line.strip() for line in "".join([*parts, remaining]).splitlines())
    return "\n".join(line for line in lines if line)


@cache
def renderer_version() -> str:
    """Return a digest of the code and the templates that pages are rendered with.

    It is part of the cache keys, so pages that were cached by another version are rendered again.
    """
    digest = hashlib.sha256()
    templates = settings.BASE_DIR / "templates"
    code = settings.BASE_DIR / "sites"
    files = [
        *(templates / "site").iterdir(),
        *(templates / "blocks").iterdir(),
        *code.glob("*.py"),
        *(code / "blueprint").rglob("*.py"),
        *(code / "serving").glob("*.py"),
        code / "blueprint" / "site_templates" / "pictures.json",
    ]
    for path in sorted(files):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    extra = head_parts.collect_head_parts(base_url="")
    digest.update(extra.head_html.encode() + b"\0" + extra.body_html.encode())
    return digest.hexdigest()[:16]
