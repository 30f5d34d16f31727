"""The published content as JSON: the same content that `sites.serving.rendering` turns into HTML pages."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sites.blueprint.block_upgrades import upgrade_page
from sites.blueprint.schema import PostSettings
from sites.models import Post, Site
from sites.serving.rendering import find_page
from sites.serving.template_pictures import shipped_pictures
from sites.serving.translations import text_direction
from sites.subdomains import address_of, host_of


def serialize_site(blueprint: dict[str, Any], site: Site) -> dict[str, Any]:
    """Return a live site with its settings and its pages, without the blocks of the pages."""
    settings = blueprint["settings"]
    locale = settings.get("locale", "en")
    release = site.live_release
    assert release is not None
    base_url = address_of(site.subdomain)
    return {
        "host": host_of(site.subdomain),
        "url": base_url,
        "title": settings["title"],
        "locale": locale,
        "direction": text_direction(locale),
        "settings": settings,
        "theme": blueprint.get("theme", {}),
        "navigation": blueprint.get("navigation", []),
        "pages": [
            {name: page.get(name, {}) for name in ("id", "path", "title", "seo")}
            for page in blueprint["pages"]
        ],
        "posts_path": PostSettings.model_validate(settings.get("posts", {})).path,
        "release": {"number": release.number, "published_at": _format_datetime(release.created_at)},
        "pictures": picture_sources(
            [settings, [page.get("seo", {}) for page in blueprint["pages"]]], base_url
        ),
    }


def serialize_page(blueprint: dict[str, Any], path: str, base_url: str) -> dict[str, Any] | None:
    """Return the page at `path` with its blocks in their newest versions; None when there is no such page."""
    page = find_page(blueprint, path)
    if page is None:
        return None
    upgrade_page(page)
    return {**page, "seo": page.get("seo", {}), "pictures": picture_sources(page, base_url)}


def serialize_post(post: Post, base_url: str) -> dict[str, Any]:
    """Return a post with its blocks in their newest versions."""
    upgrade_page({"blocks": post.blocks})
    return {
        **serialize_post_summary(post),
        "blocks": post.blocks,
        "pictures": picture_sources(post.blocks, base_url),
    }


def serialize_post_summary(post: Any) -> dict[str, Any]:
    """Return a post without its blocks."""
    return {
        "id": str(post.pk),
        "slug": post.slug,
        "title": post.title,
        "excerpt": post.excerpt,
        "tags": post.tags,
        "author": post.byline,
        "published_at": _format_datetime(post.published_at),
        "updated_at": _format_datetime(post.updated_at),
    }


def picture_sources(value: Any, base_url: str) -> dict[str, Any]:
    """Return the source and the size of every picture named below `value`, by its asset id.

    The URLs are absolute and contain a digest, so their content never changes.
    """
    pictures = shipped_pictures()
    return {
        asset: {
            "src": base_url + pictures[asset].src,
            "srcset": pictures[asset].srcset.replace("/_/a/", f"{base_url}/_/a/"),
            "width": pictures[asset].width,
            "height": pictures[asset].height,
        }
        for asset in sorted(set(_asset_ids(value)))
        if asset in pictures
    }


def _asset_ids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("asset"), str):
            yield value["asset"]
        for item in value.values():
            yield from _asset_ids(item)
    elif isinstance(value, list):
        for item in value:
            yield from _asset_ids(item)


def _format_datetime(value: datetime) -> str:
    return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
