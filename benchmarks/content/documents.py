"""Generates blueprints of any size from the pages of the site templates, with their words shuffled."""

import json
import random
from functools import cache
from typing import Any

from sites.blueprint.schema import validate_blueprint
from sites.blueprint.site_templates import site_templates

MARK = "Marked "  # the beginning of a text that changes between two publishes


def generate_blueprint(seed: int, *, pages: int) -> dict[str, Any]:
    """A valid blueprint with `pages` pages of about 5 kB each: `/`, `/page-1` and so on.

    The same arguments give the same blueprint.
    """
    rng = random.Random(seed)
    template = _template_blueprints()[seed % len(_template_blueprints())]
    new_page_ids = {page["id"]: f"page-{number}" for number, page in enumerate(template["pages"])}
    generated_pages = [_generate_page(template, number, new_page_ids, rng) for number in range(pages)]
    navigation = _with_new_links_and_shuffled_text(template["navigation"], new_page_ids, rng)
    settings = {**template["settings"], "title": f"{template['settings']['title']} {seed}"}
    return validate_blueprint(
        {**template, "settings": settings, "navigation": navigation, "pages": generated_pages}
    )


def marked_block(blueprint: dict[str, Any], page: int) -> dict[str, Any]:
    """The heading at the start of a page, whose text begins with `MARK`."""
    block: dict[str, Any] = blueprint["pages"][page]["blocks"][0]
    return block


def size_of(blueprint: dict[str, Any]) -> int:
    """The bytes of the blueprint as compact JSON."""
    return len(json.dumps(blueprint, ensure_ascii=False, separators=(",", ":")).encode())


@cache
def _template_blueprints() -> list[dict[str, Any]]:
    return [template.blueprint for template in site_templates().values()]


def _generate_page(
    template: dict[str, Any], number: int, new_page_ids: dict[str, str], rng: random.Random
) -> dict[str, Any]:
    pages = template["pages"]
    source = pages[number % len(pages)]
    next_source = pages[(number + 1) % len(pages)]
    mark = {"id": "mark", "type": "heading", "v": 1, "props": {"text": f"{MARK}{number}", "level": 2}}
    blocks = [
        mark,
        *source["blocks"],
        *({**block, "id": f"{block['id']}-more"} for block in next_source["blocks"][:2]),
    ]
    return {
        "id": f"page-{number}",
        "path": f"/page-{number}" if number else "/",
        "title": f"{source['title']} {number}",
        "seo": source.get("seo", {}),
        "blocks": [
            _with_numbered_ids(block, number)
            for block in _with_new_links_and_shuffled_text(blocks, new_page_ids, rng)
        ],
    }


def _with_numbered_ids(block: dict[str, Any], number: int) -> dict[str, Any]:
    """Add the number of the page to all ids, because a template page is used many times in a document."""
    slots = {
        name: [_with_numbered_ids(child, number) for child in children]
        for name, children in block.get("slots", {}).items()
    }
    return {**block, "id": f"{block['id']}-{number}", **({"slots": slots} if slots else {})}


def _with_new_links_and_shuffled_text(value: Any, new_page_ids: dict[str, str], rng: random.Random) -> Any:
    """Point links to the new page ids, and shuffle longer texts, so that pages do not compress as one."""
    if isinstance(value, dict):
        return {
            name: new_page_ids[item]
            if name == "page" and item in new_page_ids
            else _with_new_links_and_shuffled_text(item, new_page_ids, rng)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_with_new_links_and_shuffled_text(item, new_page_ids, rng) for item in value]
    if isinstance(value, str) and value.count(" ") > 4 and "<" not in value:
        words = value.split(" ")
        rng.shuffle(words)
        return " ".join(words)
    return value
