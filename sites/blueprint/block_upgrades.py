"""Upgrades of stored blocks to the newest version of their type.

Each block type registers one upgrade function for every version but the newest (`sites.blueprint.blocks`).
"""

from copy import deepcopy
from typing import Any

from sites.blueprint.blocks import BlockType, block_types


def upgrade_blueprint(document: Any) -> int:
    """Upgrade every block of a blueprint to the newest version of its type, in place; return how many.

    A block whose shape does not fit its version is left as it is; `validate_blueprint` reports it.
    """
    pages = document.get("pages") if isinstance(document, dict) else None
    return (
        sum(upgrade_page(page) for page in pages if isinstance(page, dict)) if isinstance(pages, list) else 0
    )


def upgrade_page(page: dict[str, Any]) -> int:
    """Upgrade every block of a page or post (a dictionary with `blocks`) in place; return how many."""
    types = block_types()
    if not any(block_type.upgrades for block_type in types.values()):
        return 0
    upgraded = 0
    pending = [page.get("blocks")]
    while pending:
        blocks = pending.pop()
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict):
                upgraded += _upgrade_block(block, types)
                slots = block.get("slots")
                pending += slots.values() if isinstance(slots, dict) else ()
    return upgraded


def _upgrade_block(block: dict[str, Any], types: dict[str, BlockType]) -> int:
    """Upgrade one block in place; return 1 when it was upgraded, else 0."""
    block_type = types.get(block["type"]) if isinstance(block.get("type"), str) else None
    v = block.get("v")
    if block_type is None or type(v) is not int or not 0 < v < block_type.v:
        return 0
    shape: dict[str, Any] = {name: deepcopy(block[name]) for name in ("props", "slots") if name in block}
    try:
        for upgrade in block_type.upgrades[v - 1 :]:
            shape = upgrade(shape)
    except (LookupError, TypeError, AttributeError, ValueError):  # its content does not fit its version
        return 0
    block.update(shape, v=block_type.v)
    return 1
