"""What changed between two blueprints, told by pages and blocks: a block is the same block as long as it
keeps its id.
"""

from bisect import bisect_left
from typing import Any

from sites.blueprint.schema import walk_blocks

SlotKey = tuple[str, str, str]  # page id, id of the block around it, slot


def diff_blueprints(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Pages and blocks that were added, removed, moved or changed, and the names of changed top-level parts."""
    parts = sorted(
        name
        for name in before.keys() | after.keys()
        if name != "pages" and before.get(name) != after.get(name)
    )
    return {"parts": parts, "pages": _diff_pages(before, after), "blocks": _diff_blocks(before, after)}


def _diff_pages(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    old, new = ({page["id"]: page for page in document.get("pages", [])} for document in (before, after))
    order = _moved_ids([pk for pk in old if pk in new], [pk for pk in new if pk in old])

    def row(page: dict[str, Any]) -> dict[str, Any]:
        return {"id": page["id"], "path": page["path"], "title": page["title"]}

    own = {pk: _without(page, "blocks") for pk, page in old.items()}
    return {
        "added": [row(page) for pk, page in new.items() if pk not in old],
        "removed": [row(page) for pk, page in old.items() if pk not in new],
        "moved": [row(new[pk]) for pk in new if pk in order],
        "changed": [
            row(page) for pk, page in new.items() if pk in own and own[pk] != _without(page, "blocks")
        ],
    }


def _diff_blocks(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    (old, old_places) = _index_blocks(before)
    (new, new_places) = _index_blocks(after)
    moved: set[str] = set()
    for place, ids in new_places.items():
        stayed = [pk for pk in ids if pk in old and pk in old_places.get(place, [])]
        moved |= {pk for pk in ids if pk in old and pk not in stayed}
        moved |= _moved_ids([pk for pk in old_places.get(place, []) if pk in stayed], stayed)

    def row(pk: str, found: dict[str, tuple[dict[str, Any], SlotKey]]) -> dict[str, Any]:
        block, (page, around, slot) = found[pk]
        return {"id": pk, "type": block["type"], "page": page, "inside": around or None, "slot": slot or None}

    return {
        "added": [row(pk, new) for pk in new if pk not in old],
        "removed": [row(pk, old) for pk in old if pk not in new],
        "moved": [row(pk, new) for pk in new if pk in moved],
        "changed": [
            row(pk, new)
            for pk in new
            if pk in old and _without(new[pk][0], "slots") != _without(old[pk][0], "slots")
        ],
    }


def _index_blocks(
    document: dict[str, Any],
) -> tuple[dict[str, tuple[dict[str, Any], SlotKey]], dict[SlotKey, list[str]]]:
    """Every block by id with its place, and the ids in each place in order."""
    found: dict[str, tuple[dict[str, Any], SlotKey]] = {}
    places: dict[SlotKey, list[str]] = {}
    for page in document.get("pages", []):
        inside: dict[str, SlotKey] = {}
        for _, block, _ in walk_blocks(page.get("blocks", []), ()):
            place = inside.get(block["id"], (page["id"], "", ""))
            found[block["id"]] = (block, place)
            places.setdefault(place, []).append(block["id"])
            for slot, children in (block.get("slots") or {}).items():
                inside |= {child["id"]: (page["id"], block["id"], slot) for child in children}
    return found, places


def _moved_ids(old: list[str], new: list[str]) -> set[str]:
    """Which of the same ids must have been moved to come from one order to the other: as few as can be."""
    positions = {pk: number for number, pk in enumerate(old)}
    tails: list[int] = []  # patience sorting: the longest run that kept its order
    chains: list[list[str]] = []
    for pk in new:
        at = bisect_left(tails, positions[pk])
        chain = [*(chains[at - 1] if at else []), pk]
        tails[at : at + 1] = [positions[pk]]
        chains[at : at + 1] = [chain]
    return set(new) - set(chains[-1] if chains else [])


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != name}
