"""The block types of a page. Each has one pydantic model here and one template in `templates/blocks/`.

Another app registers its own block types in `AppConfig.ready()`, by decorating a `Props` class with
`sites.blueprint.blocks.block`.
"""

from sites.blueprint.blocks import business, content, layout, media
from sites.blueprint.blocks.registry import BlockType, block, block_types

__all__ = ["BlockType", "block", "block_types", "business", "content", "layout", "media"]
