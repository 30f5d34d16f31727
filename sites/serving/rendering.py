"""From a blueprint to the bytes of a page.

No request, and no database but for posts: the same release and the same posts give the same page.
"""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.template.loader import get_template
from django.utils.safestring import mark_safe

from sites.blueprint.block_upgrades import upgrade_blueprint
from sites.blueprint.blocks.fields import Link
from sites.blueprint.blocks.media import FRAME_HOSTS
from sites.blueprint.schema import NavigationItem, Page, Seo, SiteSettings, page_model
from sites.blueprint.themes import Theme, theme_css
from sites.selectors import PublishedPosts
from sites.serving import head_parts
from sites.serving.translations import get_translations, text_direction


@dataclass(frozen=True, slots=True)
class RenderedPage:
    """UTF-8 HTML and the Content-Security-Policy it must be sent with."""

    html: bytes
    csp: str


@dataclass(frozen=True, slots=True)
class RenderContext:
    """Where a page is shown: `base_url` (no slash at its end) is where visitors find the site, `shelf` has
    its posts.

    In a preview, `prefix` stands before every address within the site.
    """

    base_url: str
    shelf: PublishedPosts | None = None
    prefix: str = ""


def find_page(blueprint: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The page at `path`, or None."""
    return next((page for page in blueprint.get("pages", []) if page["path"] == path), None)


def render_page(blueprint: dict[str, Any], page: dict[str, Any], scene: RenderContext) -> RenderedPage:
    """Render one page of `blueprint`."""
    upgrade_blueprint({"pages": [page]})
    model = page_model().model_validate(page)
    return render_template("site/page.html", blueprint, model, scene)


def render_not_found(blueprint: dict[str, Any], scene: RenderContext) -> RenderedPage:
    """The site's own page for an address it does not have."""
    words = get_translations(blueprint["settings"].get("locale", "en"))
    page = Page(id="missing", path="/", title=words["missing"], seo=Seo(noindex=True))
    return render_template("site/missing.html", blueprint, page, scene)


def render_template(
    template: str, blueprint: dict[str, Any], page: Page, scene: RenderContext, **more: Any
) -> RenderedPage:
    """Render `template` with what every page knows, and `more`."""
    site = SiteSettings.model_validate(blueprint["settings"])
    paths = {other["id"]: scene.prefix + other["path"] for other in blueprint.get("pages", [])}
    navigation = [NavigationItem.model_validate(item) for item in blueprint.get("navigation", [])]
    style = theme_css(Theme.model_validate(blueprint.get("theme", {}))) + site_css()
    extra = (
        head_parts.HeadPart(mark_safe(""))
        if scene.prefix
        else head_parts.collect_head_parts(base_url=scene.base_url)
    )
    first = page.blocks[0] if page.blocks else None
    context = {
        "site": site,
        "page": page,
        "paths": paths,
        "prefix": scene.prefix,
        "shelf": scene.shelf,
        "posts_seen": {},
        "posts_path": site.posts.path,
        "base_url": scene.base_url,
        "canonical": scene.base_url + page.path,
        "navigation": [_navigation_item(item, page, paths, scene.prefix) for item in navigation],
        "title": _document_title(page, site),
        "description": page.seo.description or site.seo.description,
        "social_image": page.seo.image or site.seo.image,
        "noindex": bool(page.seo.noindex or site.seo.noindex or scene.prefix),
        "direction": text_direction(site.locale),
        "words": get_translations(site.locale),
        "style": mark_safe(style),  # noqa: S308 - made of our own CSS and of colours that match #rrggbb
        "heading_block": first.id if first is not None and first.type in {"hero", "heading"} else "",
        "extra_head": extra.html,
        "extra_body": extra.body,
        **more,
    }
    html = get_template(template).render(context)
    return RenderedPage(html.encode(), _content_security_policy(style, extra.script_hashes))


def _navigation_item(item: NavigationItem, page: Page, paths: dict[str, str], prefix: str) -> dict[str, Any]:
    address = link_url(item.link, paths, prefix)
    return {"label": item.label, "href": address, "current": address == prefix + page.path}


def link_url(link: Link, paths: dict[str, str], prefix: str) -> str:
    """Where a link leads on this site."""
    if link.href is None:
        return paths.get(link.page or "", f"{prefix}/")
    return add_path_prefix(link.href, prefix)


def add_path_prefix(address: str, prefix: str) -> str:
    """An address of this site stays in its preview."""
    return prefix + address if address.startswith("/") else address


def _document_title(page: Page, site: SiteSettings) -> str:
    if page.seo.title:
        return page.seo.title
    if page.path == "/":
        return site.seo.title or site.title
    return f"{page.title} · {site.title}"


def _content_security_policy(style: str, script_hashes: list[str]) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    scripts = " ".join(f"'sha256-{item}'" for item in script_hashes) or "'none'"
    connect = "'self'" if script_hashes else "'none'"
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; script-src {scripts}; connect-src {connect}; "
        f"frame-src {' '.join(FRAME_HOSTS)}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )


@cache
def site_css() -> str:
    """The one stylesheet of published pages, with comments and indentation taken out."""
    css = (settings.BASE_DIR / "templates" / "site" / "site.css").read_text()
    return minify_css(css)


def minify_css(css: str) -> str:
    """Drop comments and indentation. Strings in our own CSS hold neither."""
    kept = []
    rest = css
    while "/*" in rest:
        before, _, after = rest.partition("/*")
        kept.append(before)
        rest = after.partition("*/")[2]
    lines = (line.strip() for line in "".join([*kept, rest]).splitlines())
    return "\n".join(line for line in lines if line)


@cache
def renderer_version() -> str:
    """Return a digest of everything that a page is made of, so that pages cached by other code are rendered again."""
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
    digest.update(extra.html.encode() + b"\0" + extra.body.encode())
    return digest.hexdigest()[:16]
