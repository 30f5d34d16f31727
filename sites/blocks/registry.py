"""The one list of block types."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from sites.blocks.fields import Props

P = TypeVar("P", bound=Props)


@dataclass(frozen=True, slots=True)
class BlockType:
    """`name` and `v` are stored with every block; `slots` name the places where it takes other blocks."""

    name: str
    v: int
    props: type[Props]
    slots: tuple[str, ...]

    @property
    def template(self) -> str:
        return f"blocks/{self.name}.html"


_types: dict[str, BlockType] = {}


def block(name: str, *, v: int = 1, slots: Sequence[str] = ()) -> Callable[[type[P]], type[P]]:
    """Register the decorated `Props` class as the block type `name`. Raises ValueError when the name is taken."""

    def register(props: type[P]) -> type[P]:
        if name in _types:
            raise ValueError(f"block type {name!r} is registered twice")
        _types[name] = BlockType(name, v, props, tuple(slots))
        return props

    return register


def block_types() -> dict[str, BlockType]:
    """Every registered type by name. Call it after `django.setup()`."""
    return dict(_types)
