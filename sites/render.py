"""From a blueprint to the bytes of a page. No database, no request: the same release gives the same page."""

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.template.loader import get_template
from django.utils.safestring import mark_safe

from sites import head
from sites.blocks.fields import Link
from sites.blocks.media import FRAME_HOSTS
from sites.blueprint import NavigationItem, Page, Seo, SiteSettings, page_model
from sites.phrases import direction, phrases
from sites.themes import Theme, stylesheet


@dataclass(frozen=True, slots=True)
class Rendered:
    """UTF-8 HTML and the Content-Security-Policy it must be sent with."""

    html: bytes
    csp: str


def find_page(blueprint: dict[str, Any], path: str) -> dict[str, Any] | None:
    """The page at `path`, or None."""
    return next((page for page in blueprint.get("pages", []) if page["path"] == path), None)


def render_page(blueprint: dict[str, Any], page: dict[str, Any], *, base_url: str) -> Rendered:
    """Render one page of `blueprint`; `base_url` (no slash at its end) is where visitors find the site."""
    model = page_model().model_validate(page)
    return _render("site/page.html", blueprint, model, base_url)


def render_missing(blueprint: dict[str, Any], *, base_url: str) -> Rendered:
    """The site's own page for an address it does not have."""
    words = phrases(blueprint["settings"].get("locale", "en"))
    page = Page(id="missing", path="/", title=words["missing"], seo=Seo(noindex=True))
    return _render("site/missing.html", blueprint, page, base_url)


def _render(template: str, blueprint: dict[str, Any], page: Page, base_url: str) -> Rendered:
    site = SiteSettings.model_validate(blueprint["settings"])
    paths = {other["id"]: other["path"] for other in blueprint.get("pages", [])}
    navigation = [NavigationItem.model_validate(item) for item in blueprint.get("navigation", [])]
    style = stylesheet(Theme.model_validate(blueprint.get("theme", {}))) + site_css()
    extra = head.collect(base_url=base_url)
    first = page.blocks[0] if page.blocks else None
    context = {
        "site": site,
        "page": page,
        "paths": paths,
        "base_url": base_url,
        "canonical": base_url + page.path,
        "navigation": [{"label": item.label, "href": href(item.link, paths), "current": paths.get(item.link.page or "") == page.path} for item in navigation],
        "title": _title(page, site),
        "description": page.seo.description or site.seo.description,
        "social_image": page.seo.image or site.seo.image,
        "noindex": page.seo.noindex or site.seo.noindex,
        "direction": direction(site.locale),
        "words": phrases(site.locale),
        "style": mark_safe(style),  # noqa: S308 - made of our own CSS and of colours that match #rrggbb
        "heading_block": first.id if first is not None and first.type in {"hero", "heading"} else "",
        "extra_head": extra.html,
    }  # fmt: skip
    html = get_template(template).render(context)
    return Rendered(html.encode(), _policy(style, extra.script_hashes))


def href(link: Link, paths: dict[str, str]) -> str:
    """Where a link leads on this site."""
    return link.href if link.href is not None else paths.get(link.page or "", "/")


def _title(page: Page, site: SiteSettings) -> str:
    if page.seo.title:
        return page.seo.title
    return site.title if page.path == "/" else f"{page.title} · {site.title}"


def _policy(style: str, script_hashes: list[str]) -> str:
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
    return minify(css)


def minify(css: str) -> str:
    """Drop comments and indentation. Strings in our own CSS hold neither."""
    kept, rest = [], css
    while "/*" in rest:
        before, _, after = rest.partition("/*")
        kept.append(before)
        rest = after.partition("*/")[2]
    lines = (line.strip() for line in "".join([*kept, rest]).splitlines())
    return "\n".join(line for line in lines if line)


@cache
def renderer_version() -> str:
    """Changes whenever anything that a page is made of does, so that pages kept from before are rendered again."""
    digest = hashlib.sha256()
    templates, code = settings.BASE_DIR / "templates", settings.BASE_DIR / "sites"
    made_of = [
        *(templates / "site").iterdir(),
        *(templates / "blocks").iterdir(),
        *code.glob("*.py"),
        *(code / "blocks").glob("*.py"),
    ]
    for path in sorted([*made_of, code / "site_templates" / "pictures.json"]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
