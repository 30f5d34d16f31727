"""Files that are generated for every site: the sitemap, robots.txt and the favicon."""

from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from django.conf import settings

from sites.blueprint.themes import Theme, favicon_colors
from sites.selectors import PublishedPosts
from sites.serving import post_pages

MAX_SITEMAP_URLS = 50_000  # sitemaps.org allows no more in one file


def sitemap(blueprint: dict[str, Any], base_url: str, posts: PublishedPosts) -> str:
    """Return an XML sitemap of all pages and posts without `noindex` (sitemaps.org 0.9)."""
    site_is_hidden = blueprint["settings"].get("seo", {}).get("noindex", False)
    paths = [
        page["path"]
        for page in blueprint["pages"]
        if not site_is_hidden and not page.get("seo", {}).get("noindex", False)
    ]
    if not site_is_hidden:
        paths += post_pages.indexable_post_paths(blueprint, posts, limit=MAX_SITEMAP_URLS - len(paths))
    urls = "".join(f"<url><loc>{escape(base_url + path)}</loc></url>" for path in paths)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>\n'
    )


def robots(blueprint: dict[str, Any], base_url: str, posts: PublishedPosts) -> str:
    """Return robots.txt (RFC 9309). Sites with `noindex`, and all sites in development, forbid crawling."""
    is_hidden = settings.DEVELOPMENT or blueprint["settings"].get("seo", {}).get("noindex", False)
    return (
        "User-agent: *\nDisallow: /\n"
        if is_hidden
        else f"User-agent: *\nDisallow: /_/\n\nSitemap: {base_url}/sitemap.xml\n"
    )


def favicon(blueprint: dict[str, Any], base_url: str, posts: PublishedPosts) -> str:
    """Return an SVG with the first letter of the site's title on its accent colour."""
    background, letter_color = favicon_colors(Theme.model_validate(blueprint.get("theme", {})))
    letter = escape(post_pages.strip_invalid_xml(blueprint["settings"]["title"]).strip()[:1].upper())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<rect width="64" height="64" rx="14" fill="{background}"/>'
        '<text x="32" y="45" font-family="sans-serif" font-size="38" font-weight="700" '
        f'text-anchor="middle" fill="{letter_color}">{letter}</text></svg>\n'
    )


# The content type and the function of each file, by its path.
GENERATED_FILES: dict[str, tuple[str, Callable[[dict[str, Any], str, PublishedPosts], str]]] = {
    "/sitemap.xml": ("application/xml; charset=utf-8", sitemap),
    "/favicon.svg": ("image/svg+xml; charset=utf-8", favicon),
    "/robots.txt": ("text/plain; charset=utf-8", robots),
}
