"""The blueprint document: what a site is, as data. Its schema, its limits, and what is said about a wrong one."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from core.errors import FieldProblem, Invalid
from core.pointers import pointer
from sites.blocks import BlockType, block_types
from sites.blocks.fields import Identifier, Link, Picture, Props, Text, Title
from sites.themes import Theme

MAX_DEPTH = 12
MAX_BLOCKS = 2_000
MAX_PAGE_BYTES = 1024 * 1024
MAX_BYTES = 10 * 1024 * 1024
MAX_PAGES = 500
MAX_ERRORS = 100
MAX_THINGS = 50_000
RESERVED_PATHS = {"/sitemap.xml", "/robots.txt", "/favicon.ico", "/favicon.svg"}

PagePath = Annotated[str, StringConstraints(pattern=r"^(/|(/[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?){1,6})$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$")]


class Seo(Props):
    """What search engines and link previews are told."""

    title: Annotated[str, StringConstraints(max_length=120)] = ""
    description: Annotated[str, StringConstraints(max_length=320)] = ""
    image: Picture | None = None
    noindex: bool = False


class SiteSettings(Props):
    """What every page shares. `locale` is a BCP 47 tag; its script decides the direction of text."""

    title: Title
    locale: Locale = "en"
    seo: Seo = Seo()
    footer: Text = ""


class NavigationItem(Props):
    label: Annotated[str, StringConstraints(min_length=1, max_length=60)]
    link: Link


class Block(Props):
    """Any block, as the renderer sees it; the registered types narrow `props` and `slots`."""

    id: Identifier
    type: str
    v: int
    props: Any
    slots: Any = None


class Page(Props):
    """One page; `path` is where visitors find it."""

    id: Identifier
    path: PagePath
    title: Title
    seo: Seo = Seo()
    blocks: list[Any] = []


class Blueprint(Props):
    """A whole site as data."""

    model_config = ConfigDict(title="Blueprint")

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    theme: Theme = Theme()
    settings: SiteSettings
    navigation: Annotated[list[NavigationItem], Field(max_length=30)] = []
    pages: Annotated[list[Page], Field(max_length=MAX_PAGES)] = []
    forms: Annotated[list[Any], Field(max_length=0, description="Reserved: empty for now.")] = []


def _block_model(kind: BlockType) -> type[BaseModel]:
    optional = all(not field.is_required() for field in kind.props.model_fields.values())
    fields: dict[str, Any] = {
        "type": (Literal[kind.name], ...),
        "v": (Literal[kind.v], kind.v),
        "props": (kind.props, Field(default_factory=kind.props) if optional else ...),
    }
    if kind.slots:
        children: Any = (list["AnyBlock"], Field(default=[], max_length=MAX_BLOCKS))  # type: ignore[name-defined]  # noqa: F821 - page_model binds it
        slots: Any = dict.fromkeys(kind.slots, children)
        model = create_model(f"{kind.props.__name__}Slots", __base__=Props, **slots)
        fields["slots"] = (model, Field(default_factory=model))
    else:
        fields["slots"] = (create_model("NoSlots", __base__=Props), Field(default=None))
    return create_model(f"{kind.props.__name__}Block", __base__=Block, __doc__=kind.props.__doc__, **fields)


@cache
def page_model() -> type[Page]:
    """`Page` whose blocks are the registered types. Built once, after every app is ready."""
    models = {kind.name: _block_model(kind) for kind in block_types().values()}
    any_block: Any = Annotated[Union[tuple(models.values())], Field(discriminator="type")]  # noqa: UP007
    for model in models.values():
        slots = model.model_fields["slots"].annotation
        assert slots is not None
        slots.model_rebuild(_types_namespace={"AnyBlock": any_block})
        model.model_rebuild(force=True, _types_namespace={"AnyBlock": any_block})
    blocks: Any = (Annotated[list[any_block], Field(max_length=MAX_BLOCKS)], [])  # type: ignore[valid-type]
    return create_model("Page", __base__=Page, __doc__=Page.__doc__, blocks=blocks)


@cache
def blueprint_model() -> type[Blueprint]:
    """`Blueprint` whose pages hold the registered block types."""
    pages: Any = (Annotated[list[page_model()], Field(max_length=MAX_PAGES)], [])  # type: ignore[misc]
    return create_model("Blueprint", __base__=Blueprint, __doc__=Blueprint.__doc__, pages=pages)


@cache
def json_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a blueprint. What it cannot say (unique ids, sizes, depth) stands in its description."""
    schema = blueprint_model().model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["description"] = (
        f"{Blueprint.__doc__} Ids are unique in the document, page paths too; blocks nest {MAX_DEPTH} deep, a page has at "
        f"most {MAX_BLOCKS} blocks and {MAX_PAGE_BYTES} bytes, the document {MAX_BYTES} bytes of JSON; links name pages that exist."
    )
    return schema


def validate(document: Any) -> dict[str, Any]:
    """Return `document` with rich text sanitised and versions filled in. Raises Invalid with pointers to each fault."""
    if _things(document) > MAX_THINGS:
        raise Invalid(
            [FieldProblem("", "too_many_blocks", f"A blueprint has at most {MAX_THINGS} blocks and list items.")]
        )
    try:
        blueprint = blueprint_model().model_validate(document)
    except ValidationError as error:
        raise Invalid([_problem(document, detail) for detail in error.errors(include_url=False)[:MAX_ERRORS]]) from None
    clean = blueprint.model_dump(mode="json", by_alias=True, exclude_unset=True)
    clean.setdefault("schema", 1)
    faults = list(_incoherences(clean))[:MAX_ERRORS]
    if faults:
        raise Invalid(faults)
    return clean


def _things(value: Any) -> int:
    """How many list items there are in all: counted before validation, which keeps an error for each bad one."""
    if isinstance(value, dict):
        return sum(_things(item) for item in value.values())
    if isinstance(value, list):
        return len(value) + sum(_things(item) for item in value if isinstance(item, dict | list))
    return 0


def _problem(document: Any, error: Any) -> FieldProblem:
    """One pydantic error with its place as the client wrote it: the tag of a union is not part of the document."""
    here, parts = document, []
    for part in error["loc"]:
        tag = isinstance(here, dict) and part not in here and part == here.get("type")
        if tag:
            continue
        parts.append(part)
        inside = (isinstance(here, dict) and part in here) or (isinstance(here, list) and isinstance(part, int))
        here = here[part] if inside and (isinstance(here, dict) or part < len(here)) else None
    message = error["msg"].removeprefix("Value error, ")
    return FieldProblem(pointer(parts), error["type"], message[:300])


def walk(
    blocks: list[dict[str, Any]], place: tuple[str | int, ...], depth: int = 1
) -> Iterator[tuple[Any, dict[str, Any], int]]:
    """Every block below `blocks` with its place and its depth (1 is the top), parents first."""
    for index, block in enumerate(blocks):
        here = (*place, index)
        yield here, block, depth
        for name, children in (block.get("slots") or {}).items():
            yield from walk(children, (*here, "slots", name), depth + 1)


def _incoherences(document: dict[str, Any]) -> Iterator[FieldProblem]:
    """What no single value shows: repeated ids and paths, links to no page, and the limits."""
    pages = document.get("pages", [])
    known = {page["id"] for page in pages}
    ids: set[str] = set()
    paths: set[str] = set()
    yield from _dead_links(document.get("navigation", []), ("navigation",), known)
    for number, page in enumerate(pages):
        place: tuple[str | int, ...] = ("pages", number)
        if page["path"] in RESERVED_PATHS:
            yield FieldProblem(pointer((*place, "path")), "reserved_path", "This address is made for every site.")
        if page["path"] in paths:
            yield FieldProblem(pointer((*place, "path")), "duplicate_path", "Another page has this path.")
        paths.add(page["path"])
        yield from _repeated(page["id"], place, ids)
        count = 0
        for here, block, depth in walk(page.get("blocks", []), (*place, "blocks")):
            count += 1
            block.setdefault("v", block_types()[block["type"]].v)
            yield from _repeated(block["id"], here, ids)
            yield from _dead_links(block.get("props", {}), (*here, "props"), known)
            if depth > MAX_DEPTH:
                yield FieldProblem(pointer(here), "too_deep", f"Blocks nest at most {MAX_DEPTH} deep.")
        if count > MAX_BLOCKS:
            yield FieldProblem(pointer(place), "too_many_blocks", f"A page has at most {MAX_BLOCKS} blocks.")
        if len(json.dumps(page, ensure_ascii=False).encode()) > MAX_PAGE_BYTES:
            yield FieldProblem(pointer(place), "page_too_large", f"A page has at most {MAX_PAGE_BYTES} bytes.")


def _repeated(identifier: str, place: tuple[str | int, ...], ids: set[str]) -> Iterator[FieldProblem]:
    if identifier in ids:
        yield FieldProblem(pointer((*place, "id")), "duplicate_id", "This id is used twice in the document.")
    ids.add(identifier)


def _dead_links(value: Any, place: tuple[str | int, ...], known: set[str]) -> Iterator[FieldProblem]:
    if isinstance(value, dict):
        page = value.get("page")
        if isinstance(page, str) and page not in known:
            yield FieldProblem(pointer((*place, "page")), "unknown_page", "No page of this blueprint has this id.")
        for name, item in value.items():
            yield from _dead_links(item, (*place, name), known)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _dead_links(item, (*place, index), known)
