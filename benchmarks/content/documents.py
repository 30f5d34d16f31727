"""Blueprints of any size, made of the pages of the shipped site templates with their words in another order."""

import json
import random
from functools import cache
from typing import Any

from sites.blueprint.schema import validate_blueprint
from sites.blueprint.site_templates import site_templates

MARK = "Marked "  # the first words of a text that changes between two publishes


def blueprint_of(seed: int, *, pages: int) -> dict[str, Any]:
    """A valid blueprint of `pages` pages, about 5 kB each, `/` first, then `/page-1`; the same for the same
    arguments.
    """
    rng = random.Random(seed)
    shipped = _templates()[seed % len(_templates())]
    place = {page["id"]: f"page-{number}" for number, page in enumerate(shipped["pages"])}
    made = [_page(shipped, number, place, rng) for number in range(pages)]
    navigation = _relinked(shipped["navigation"], place, rng)
    settings = {**shipped["settings"], "title": f"{shipped['settings']['title']} {seed}"}
    return validate_blueprint({**shipped, "settings": settings, "navigation": navigation, "pages": made})


def text_of(blueprint: dict[str, Any], page: int) -> dict[str, Any]:
    """The block of a page that changes: `MARK` and its number stand in its props."""
    block: dict[str, Any] = blueprint["pages"][page]["blocks"][0]
    return block


def size_of(blueprint: dict[str, Any]) -> int:
    """Bytes of compact JSON."""
    return len(json.dumps(blueprint, ensure_ascii=False, separators=(",", ":")).encode())


@cache
def _templates() -> list[dict[str, Any]]:
    return [template.blueprint for template in site_templates().values()]


def _page(shipped: dict[str, Any], number: int, place: dict[str, str], rng: random.Random) -> dict[str, Any]:
    pages = shipped["pages"]
    found = pages[number % len(pages)]
    beside = pages[(number + 1) % len(pages)]
    mark = {"id": "mark", "type": "heading", "v": 1, "props": {"text": f"{MARK}{number}", "level": 2}}
    blocks = [
        mark,
        *found["blocks"],
        *({**block, "id": f"{block['id']}-more"} for block in beside["blocks"][:2]),
    ]
    return {
        "id": f"page-{number}",
        "path": f"/page-{number}" if number else "/",
        "title": f"{found['title']} {number}",
        "seo": found.get("seo", {}),
        "blocks": [_numbered(block, number) for block in _relinked(blocks, place, rng)],
    }


def _numbered(block: dict[str, Any], number: int) -> dict[str, Any]:
    """Ids are unique in a document, and the same template page stands in it often."""
    slots = {
        name: [_numbered(child, number) for child in children]
        for name, children in block.get("slots", {}).items()
    }
    return {**block, "id": f"{block['id']}-{number}", **({"slots": slots} if slots else {})}


def _relinked(value: Any, place: dict[str, str], rng: random.Random) -> Any:
    """Links lead to the new ids; words of longer texts are shuffled, so that no two pages compress as one."""
    if isinstance(value, dict):
        return {
            name: place[item] if name == "page" and item in place else _relinked(item, place, rng)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_relinked(item, place, rng) for item in value]
    if isinstance(value, str) and value.count(" ") > 4 and "<" not in value:
        words = value.split(" ")
        rng.shuffle(words)
        return " ".join(words)
    return value
