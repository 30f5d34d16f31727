"""What is published, as JSON: the same content that `render` turns into pages."""

from collections.abc import Iterator
from typing import Any

from sites.blueprint.block_upgrades import upgrade_blueprint
from sites.blueprint.schema import PostSettings
from sites.models import Post, Site
from sites.serving.rendering import find_page
from sites.serving.template_pictures import shipped_pictures
from sites.serving.translations import text_direction
from sites.subdomains import address_of, host_of


def serialize_site(blueprint: dict[str, Any], found: Site) -> dict[str, Any]:
    """A site without the blocks of its pages."""
    settings = blueprint["settings"]
    locale = settings.get("locale", "en")
    release = found.live_release
    assert release is not None
    return {
        "host": host_of(found.subdomain),
        "url": address_of(found.subdomain),
        "title": settings["title"],
        "locale": locale,
        "direction": text_direction(locale),
        "settings": settings,
        "theme": blueprint.get("theme", {}),
        "navigation": blueprint.get("navigation", []),
        "pages": [
            {**{name: page.get(name, {}) for name in ("id", "path", "title", "seo")}}
            for page in blueprint["pages"]
        ],
        "posts_path": PostSettings.model_validate(settings.get("posts", {})).path,
        "release": {"number": release.number, "published_at": _format_datetime(release.created_at)},
        "pictures": picture_sources(
            [settings, [page.get("seo", {}) for page in blueprint["pages"]]], address_of(found.subdomain)
        ),
    }


def serialize_page(blueprint: dict[str, Any], path: str, base_url: str) -> dict[str, Any] | None:
    """One page with its blocks in their newest shapes; None when there is none."""
    found = find_page(blueprint, path)
    if found is None:
        return None
    upgrade_blueprint({"pages": [found]})
    return {**found, "seo": found.get("seo", {}), "pictures": picture_sources(found, base_url)}


def serialize_post(found: Post, base_url: str) -> dict[str, Any]:
    """One post with its blocks in their newest shapes."""
    upgrade_blueprint({"pages": [{"blocks": found.blocks}]})
    return {
        **serialize_post_summary(found),
        "blocks": found.blocks,
        "pictures": picture_sources(found.blocks, base_url),
    }


def serialize_post_summary(found: Any) -> dict[str, Any]:
    """A post without its blocks."""
    return {
        "id": str(found.pk),
        "slug": found.slug,
        "title": found.title,
        "excerpt": found.excerpt,
        "tags": found.tags,
        "author": found.byline,
        "published_at": _format_datetime(found.published_at),
        "updated_at": _format_datetime(found.updated_at),
    }


def picture_sources(value: Any, base_url: str) -> dict[str, Any]:
    """Where every picture named below `value` is, by its asset id; absolute addresses that never change their
    content.
    """
    known = shipped_pictures()
    return {
        asset: {
            "src": base_url + known[asset].src,
            "srcset": known[asset].srcset.replace("/_/a/", f"{base_url}/_/a/"),
            "width": known[asset].width,
            "height": known[asset].height,
        }
        for asset in sorted(set(_asset_ids(value)))
        if asset in known
    }


def _asset_ids(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("asset"), str):
            yield value["asset"]
        for inner in value.values():
            yield from _asset_ids(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _asset_ids(inner)


def _format_datetime(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
