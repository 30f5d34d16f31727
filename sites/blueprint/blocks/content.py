"""Blocks of text: headings, paragraphs, buttons, quotes, questions, lists of posts."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sites.blueprint.blocks.fields import (
    Action,
    Align,
    Line,
    Picture,
    Props,
    RichText,
    Tag,
    Text,
    Title,
    require_visible,
)
from sites.blueprint.blocks.registry import block


@block("heading")
class Heading(Props):
    """A heading with an optional line above it."""

    text: Title
    eyebrow: Line = ""
    level: Annotated[int, Field(ge=2, le=4)] = 2
    align: Align = "start"


@block("text")
class TextBlock(Props):
    """Running text: paragraphs, lists, links, quotes. `lead` is larger, for an opening."""

    html: RichText
    size: Literal["normal", "lead", "small"] = "normal"
    align: Align = "start"


@block("button")
class Button(Props):
    """One to three buttons side by side."""

    actions: Annotated[list[Action], Field(min_length=1, max_length=3)]
    align: Align = "start"


@block("hero")
class Hero(Props):
    """The introduction at the top of a page. `cover` puts the text on the picture, `split` beside it."""

    title: Title
    eyebrow: Line = ""
    text: Text = ""
    image: Picture | None = None
    layout: Literal["cover", "split", "centered"] = "split"
    actions: Annotated[list[Action], Field(max_length=3)] = []


@block("quote")
class Quote(Props):
    """A quotation with its author."""

    text: Annotated[Text, Field(min_length=1), AfterValidator(require_visible)]
    author: Line = ""
    role: Line = ""
    image: Picture | None = None


class FaqItem(Props):
    question: Title
    answer: RichText


@block("faq")
class Faq(Props):
    """Questions that open to show their answers, without scripts."""

    title: Line = ""
    items: Annotated[list[FaqItem], Field(min_length=1, max_length=100)]


@block("posts")
class Posts(Props):
    """The newest posts of the site, or those with one tag. Without posts the block shows nothing."""

    title: Line = ""
    tag: Tag | None = None
    limit: Annotated[int, Field(ge=1, le=24)] = 3
    layout: Literal["cards", "list"] = "cards"
    more: Annotated[
        str, Field(max_length=60, description="Label of a link to all posts; empty for no link.")
    ] = ""
