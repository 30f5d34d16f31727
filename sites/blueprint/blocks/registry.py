"""The registry of block types. `sites.blueprint.schema` makes the JSON Schema from their `Props` classes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sites.blueprint.blocks.fields import Props

P = TypeVar("P", bound=Props)
Upgrade = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class BlockType:
    """One block type. Its `name` and its version `v` are stored with every block.

    `slots` names the lists of child blocks. `upgrades[n]` turns a block (`props` and `slots`) of version
    n + 1 into one of version n + 2.
    """

    name: str
    v: int
    props: type[Props]
    slots: tuple[str, ...]
    upgrades: tuple[Upgrade, ...] = ()

    @property
    def template(self) -> str:
        return f"blocks/{self.name}.html"


_types: dict[str, BlockType] = {}


def block(
    name: str, *, slots: Sequence[str] = (), upgrades: Sequence[Upgrade] = ()
) -> Callable[[type[P]], type[P]]:
    """Register the decorated `Props` class as the block type `name`.

    The version `v` is the number of `upgrades` plus one: a changed shape comes with a function that upgrades
    the previous one. Raises ValueError when the name is taken.
    """

    def register(props: type[P]) -> type[P]:
        if name in _types:
            raise ValueError(f"block type {name!r} is registered twice")
        _types[name] = BlockType(name, len(upgrades) + 1, props, tuple(slots), tuple(upgrades))
        return props

    return register


def block_types() -> dict[str, BlockType]:
    """Return every registered type by its name. Call it after `django.setup()`."""
    return dict(_types)
