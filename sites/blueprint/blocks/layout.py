"""Blocks that arrange other blocks, and the space between blocks."""

from typing import Literal

from sites.blueprint.blocks.fields import Identifier, Props
from sites.blueprint.blocks.registry import block


@block("section", slots=["content"])
class Section(Props):
    """A full-width part of the page with its own background. A link can point to its `anchor`."""

    background: Literal["plain", "muted", "accent", "inverse"] = "plain"
    width: Literal["narrow", "normal", "wide"] = "normal"
    anchor: Identifier | None = None


@block("columns", slots=["first", "second", "third", "fourth"])
class Columns(Props):
    """Up to four columns, which are stacked on a phone."""

    ratio: Literal["equal", "wide-first", "wide-second"] = "equal"
    align: Literal["start", "center", "stretch"] = "start"


@block("divider")
class Divider(Props):
    """A line between two parts of a page."""

    style: Literal["line", "dots"] = "line"


@block("spacer")
class Spacer(Props):
    """Vertical space."""

    size: Literal["small", "medium", "large"] = "medium"
