"""The block types of a page. Each is one pydantic model here beside one template in `templates/blocks/`.

Another app adds its own from `AppConfig.ready()`: `from sites.blueprint.blocks import block`, then decorate a
`Props` class.
"""

from sites.blueprint.blocks import business, content, layout, media
from sites.blueprint.blocks.registry import BlockType, block, block_types

__all__ = ["BlockType", "block", "block_types", "business", "content", "layout", "media"]
