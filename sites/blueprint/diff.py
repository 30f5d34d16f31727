"""The differences between two blueprints, listed as pages and blocks.

A block is treated as the same block while its id stays the same, wherever it is moved to.
"""

from bisect import bisect_left
from typing import Any

from sites.blueprint.schema import walk_blocks

SlotKey = tuple[str, str, str]  # page id, id of the parent block, slot name; the last two empty at the top
BlockIndex = dict[str, tuple[dict[str, Any], SlotKey]]  # block id -> block and where it is


def diff_blueprints(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Compare two blueprints.

    Returns `parts` (the names of the top-level members that differ, without `pages`), and `pages` and
    `blocks`, each with the lists `added`, `removed`, `moved` and `changed`.
    """
    parts = sorted(
        name
        for name in before.keys() | after.keys()
        if name != "pages" and before.get(name) != after.get(name)
    )
    return {"parts": parts, "pages": _diff_pages(before, after), "blocks": _diff_blocks(before, after)}


def _diff_pages(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    old = {page["id"]: page for page in before.get("pages", [])}
    new = {page["id"]: page for page in after.get("pages", [])}
    moved = _moved_ids([pk for pk in old if pk in new], [pk for pk in new if pk in old])

    def summarize(page: dict[str, Any]) -> dict[str, Any]:
        return {"id": page["id"], "path": page["path"], "title": page["title"]}

    return {
        "added": [summarize(page) for pk, page in new.items() if pk not in old],
        "removed": [summarize(page) for pk, page in old.items() if pk not in new],
        "moved": [summarize(page) for pk, page in new.items() if pk in moved],
        "changed": [
            summarize(page)
            for pk, page in new.items()
            if pk in old and _without(old[pk], "blocks") != _without(page, "blocks")
        ],
    }


def _diff_blocks(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    (old, old_slots) = _index_blocks(before)
    (new, new_slots) = _index_blocks(after)
    moved: set[str] = set()
    for slot_key, ids in new_slots.items():
        old_ids = old_slots.get(slot_key, [])
        stayed = set(ids) & set(old_ids)
        moved |= {pk for pk in ids if pk in old and pk not in stayed}
        moved |= _moved_ids([pk for pk in old_ids if pk in stayed], [pk for pk in ids if pk in stayed])

    def summarize(pk: str, index: BlockIndex) -> dict[str, Any]:
        block, (page, parent, slot) = index[pk]
        return {"id": pk, "type": block["type"], "page": page, "inside": parent or None, "slot": slot or None}

    return {
        "added": [summarize(pk, new) for pk in new if pk not in old],
        "removed": [summarize(pk, old) for pk in old if pk not in new],
        "moved": [summarize(pk, new) for pk in new if pk in moved],
        "changed": [
            summarize(pk, new)
            for pk in new
            if pk in old and _without(new[pk][0], "slots") != _without(old[pk][0], "slots")
        ],
    }


def _index_blocks(document: dict[str, Any]) -> tuple[BlockIndex, dict[SlotKey, list[str]]]:
    """Index every block by its id, and list the block ids of each slot in order."""
    index: BlockIndex = {}
    ids_by_slot: dict[SlotKey, list[str]] = {}
    for page in document.get("pages", []):
        slot_of_child: dict[str, SlotKey] = {}
        for _, block, _ in walk_blocks(page.get("blocks", []), ()):
            slot_key = slot_of_child.get(block["id"], (page["id"], "", ""))
            index[block["id"]] = (block, slot_key)
            ids_by_slot.setdefault(slot_key, []).append(block["id"])
            for slot, children in (block.get("slots") or {}).items():
                slot_of_child |= {child["id"]: (page["id"], block["id"], slot) for child in children}
    return index, ids_by_slot


def _moved_ids(old: list[str], new: list[str]) -> set[str]:
    """Return the smallest set of ids to move so that the order `old` becomes the order `new`.

    Both lists hold the same ids. The ids that stay are a longest increasing subsequence, computed by
    patience sorting in O(n log n).
    """
    positions = {pk: number for number, pk in enumerate(old)}
    tails: list[int] = []  # tails[n] is the smallest last position of an increasing chain of length n + 1
    last_ids: list[str] = []  # the ids at these positions
    previous: dict[str, str | None] = {}  # the id before each id in its chain
    for pk in new:
        at = bisect_left(tails, positions[pk])
        previous[pk] = last_ids[at - 1] if at else None
        tails[at : at + 1] = [positions[pk]]
        last_ids[at : at + 1] = [pk]
    stays = set()
    pk_in_chain = last_ids[-1] if last_ids else None
    while pk_in_chain is not None:
        stays.add(pk_in_chain)
        pk_in_chain = previous[pk_in_chain]
    return set(new) - stays


def _without(value: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key != name}
