"""The blueprint document: what a site is, as data.

Its schema, its limits, and what is said about a wrong one.
"""

import json
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import cache
from itertools import islice
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from core.errors import FieldProblem, Invalid
from core.http.json_pointer import json_pointer
from sites.blueprint.blocks import BlockType, block_types
from sites.blueprint.blocks.fields import Identifier, Link, Picture, Props, Text, Title
from sites.blueprint.themes import Theme

MAX_DEPTH = 12
MAX_BLOCKS = 2_000
MAX_POST_LISTS_PER_PAGE = 10
MAX_PAGE_BYTES = 1024 * 1024
MAX_BLUEPRINT_BYTES = 10 * 1024 * 1024
MAX_PAGES = 500
MAX_ERRORS = 100
MAX_LIST_ITEMS = 50_000
RESERVED_PATHS = {"/sitemap.xml", "/robots.txt", "/favicon.ico", "/favicon.svg"}

PagePath = Annotated[str, StringConstraints(pattern=r"^(/|(/[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?){1,6})$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$")]


class Seo(Props):
    """What search engines and link previews are told."""

    title: Annotated[str, StringConstraints(max_length=120)] = ""
    description: Annotated[str, StringConstraints(max_length=320)] = ""
    image: Picture | None = None
    noindex: bool = False


class PostSettings(Props):
    """Where posts are found: the list at `path`, each post below it."""

    path: Annotated[PagePath, StringConstraints(min_length=2)] = "/blog"
    title: Annotated[str, StringConstraints(max_length=120)] = ""
    per_page: Annotated[int, Field(ge=1, le=50)] = 10


class SiteSettings(Props):
    """What every page shares. `locale` is a BCP 47 tag; its script decides the direction of text."""

    title: Title
    locale: Locale = "en"
    seo: Seo = Seo()
    footer: Text = ""
    posts: PostSettings = PostSettings()


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
        # Page_model binds it.
        children: Any = (list["AnyBlock"], Field(default=[], max_length=MAX_BLOCKS))  # type: ignore[name-defined]  # noqa: F821
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
    """JSON Schema 2020-12 of a blueprint.

    What it cannot say (unique ids, sizes, depth) stands in its description.
    """
    schema = blueprint_model().model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["description"] = (
        f"{Blueprint.__doc__} Ids are unique in the document, page paths too; blocks nest {MAX_DEPTH} deep, a page has at "
        f"most {MAX_BLOCKS} blocks and {MAX_PAGE_BYTES} bytes, the document {MAX_BLUEPRINT_BYTES} bytes of JSON; links name pages that exist."
    )
    return schema


def validate_blueprint(document: Any) -> dict[str, Any]:
    """Return `document` with rich text sanitised, versions filled in and older blocks upgraded.

    Raises Invalid with pointers to each fault.
    """
    _limit_list_items(document)
    upgrade_blueprint(document)
    try:
        blueprint = blueprint_model().model_validate(document)
    except ValidationError as error:
        raise Invalid(
            [_field_problem(document, detail) for detail in error.errors(include_url=False)[:MAX_ERRORS]]
        ) from None
    clean = blueprint.model_dump(mode="json", by_alias=True, exclude_unset=True)
    clean.setdefault("schema", 1)
    clean.setdefault("pages", [])
    _raise_problems(_document_problems(clean))
    return clean


def validate_blocks(blocks: Any, *, pages: set[str] | None) -> list[dict[str, Any]]:
    """As `validate`, for the blocks of what is no page; links may name `pages`, any if None.

    Pointers start with `/blocks`.
    """
    _limit_list_items(blocks)
    document: dict[str, Any] = {"id": "post", "path": "/", "title": "A post", "blocks": blocks}
    _upgrade_blocks(document)
    try:
        page = page_model().model_validate(document)
    except ValidationError as error:
        raise Invalid(
            [_field_problem(document, detail) for detail in error.errors(include_url=False)[:MAX_ERRORS]]
        ) from None
    clean = page.model_dump(mode="json", by_alias=True, exclude_unset=True)
    _raise_problems(_page_problems(clean, (), set(), pages))
    kept: list[dict[str, Any]] = clean["blocks"]
    return kept


def upgrade_blueprint(document: Any) -> int:
    """Bring every block of a blueprint to the newest shape of its type, in place; return how many were older.

    What has no shape that we know is left as it is, for `validate` to name.
    """
    pages = document.get("pages") if isinstance(document, dict) else None
    return (
        sum(_upgrade_blocks(page) for page in pages if isinstance(page, dict))
        if isinstance(pages, list)
        else 0
    )


def _upgrade_blocks(page: dict[str, Any]) -> int:
    types = block_types()
    if not any(kind.upgrades for kind in types.values()):
        return 0
    upgraded = 0
    waiting = [page.get("blocks")]
    while waiting:
        blocks = waiting.pop()
        for block in blocks if isinstance(blocks, list) else ():
            if isinstance(block, dict):
                upgraded += _upgrade_block(block, types)
                slots = block.get("slots")
                waiting += slots.values() if isinstance(slots, dict) else ()
    return upgraded


def _upgrade_block(block: dict[str, Any], types: dict[str, BlockType]) -> int:
    kind = types.get(block["type"]) if isinstance(block.get("type"), str) else None
    v = block.get("v")
    if kind is None or type(v) is not int or not 0 < v < kind.v:
        return 0
    shape: dict[str, Any] = {name: deepcopy(block[name]) for name in ("props", "slots") if name in block}
    try:
        for step in kind.upgrades[v - 1 :]:
            shape = step(shape)
    except (LookupError, TypeError, AttributeError, ValueError):  # not of the shape that it says
        return 0
    block.update(shape, v=kind.v)
    return 1


def _limit_list_items(document: Any) -> None:
    if _count_list_items(document) > MAX_LIST_ITEMS:
        raise Invalid(
            [
                FieldProblem(
                    "", "too_many_blocks", f"A blueprint has at most {MAX_LIST_ITEMS} blocks and list items."
                )
            ]
        )


def _raise_problems(faults: Iterable[FieldProblem]) -> None:
    found = list(islice(faults, MAX_ERRORS))
    if found:
        raise Invalid(found)


def _count_list_items(value: Any) -> int:
    """How many list items there are in all: counted before validation, which keeps an error for each bad one."""
    if isinstance(value, dict):
        return sum(_count_list_items(item) for item in value.values())
    if isinstance(value, list):
        return len(value) + sum(_count_list_items(item) for item in value if isinstance(item, dict | list))
    return 0


def _field_problem(document: Any, error: Any) -> FieldProblem:
    """One pydantic error with its place as the client wrote it: the tag of a union is not part of the
    document.
    """
    here = document
    parts = []
    for part in error["loc"]:
        tag = isinstance(here, dict) and part not in here and part == here.get("type")
        if tag:
            continue
        parts.append(part)
        inside = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int)
        )
        here = here[part] if inside and (isinstance(here, dict) or part < len(here)) else None
    message = error["msg"].removeprefix("Value error, ")
    return FieldProblem(json_pointer(parts), error["type"], message[:300])


def walk_blocks(
    blocks: list[dict[str, Any]], place: tuple[str | int, ...], depth: int = 1
) -> Iterator[tuple[Any, dict[str, Any], int]]:
    """Every block below `blocks` with its place and its depth (1 is the top), parents first."""
    for index, block in enumerate(blocks):
        here = (*place, index)
        yield here, block, depth
        for name, children in (block.get("slots") or {}).items():
            yield from walk_blocks(children, (*here, "slots", name), depth + 1)


def _document_problems(document: dict[str, Any]) -> Iterator[FieldProblem]:
    """What no single value shows: repeated ids and paths, links to no page, and the limits."""
    pages = document.get("pages", [])
    known = {page["id"] for page in pages}
    ids: set[str] = set()
    paths: set[str] = set()
    yield from _broken_link_problems(document.get("navigation", []), ("navigation",), known)
    if document["settings"].get("posts", {}).get("path") in RESERVED_PATHS:
        yield FieldProblem("/settings/posts/path", "reserved_path", "This address is made for every site.")
    for number, page in enumerate(pages):
        place: tuple[str | int, ...] = ("pages", number)
        if page["path"] in RESERVED_PATHS:
            yield FieldProblem(
                json_pointer((*place, "path")), "reserved_path", "This address is made for every site."
            )
        if page["path"] in paths:
            yield FieldProblem(
                json_pointer((*place, "path")), "duplicate_path", "Another page has this path."
            )
        paths.add(page["path"])
        yield from _duplicate_id_problems(page["id"], place, ids)
        yield from _page_problems(page, place, ids, known)


def _page_problems(
    page: dict[str, Any], place: tuple[str | int, ...], ids: set[str], known: set[str] | None
) -> Iterator[FieldProblem]:
    count = lists = 0
    for here, block, depth in walk_blocks(page.get("blocks", []), (*place, "blocks")):
        count += 1
        lists += block["type"] == "posts"
        block.setdefault("v", block_types()[block["type"]].v)
        yield from _duplicate_id_problems(block["id"], here, ids)
        yield from _broken_link_problems(block.get("props", {}), (*here, "props"), known)
        if depth > MAX_DEPTH:
            yield FieldProblem(json_pointer(here), "too_deep", f"Blocks nest at most {MAX_DEPTH} deep.")
    if lists > MAX_POST_LISTS_PER_PAGE:
        yield FieldProblem(
            json_pointer(place),
            "too_many_lists",
            f"A page lists posts at most {MAX_POST_LISTS_PER_PAGE} times.",
        )
    if count > MAX_BLOCKS:
        yield FieldProblem(json_pointer(place), "too_many_blocks", f"A page has at most {MAX_BLOCKS} blocks.")
    if len(json.dumps(page, ensure_ascii=False).encode()) > MAX_PAGE_BYTES:
        yield FieldProblem(
            json_pointer(place), "page_too_large", f"A page has at most {MAX_PAGE_BYTES} bytes."
        )


def _duplicate_id_problems(
    identifier: str, place: tuple[str | int, ...], ids: set[str]
) -> Iterator[FieldProblem]:
    if identifier in ids:
        yield FieldProblem(
            json_pointer((*place, "id")), "duplicate_id", "This id is used twice in the document."
        )
    ids.add(identifier)


def _broken_link_problems(
    value: Any, place: tuple[str | int, ...], known: set[str] | None
) -> Iterator[FieldProblem]:
    if isinstance(value, dict):
        page = value.get("page")
        if isinstance(page, str) and known is not None and page not in known:
            yield FieldProblem(
                json_pointer((*place, "page")), "unknown_page", "No page of this blueprint has this id."
            )
        for name, item in value.items():
            yield from _broken_link_problems(item, (*place, name), known)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_link_problems(item, (*place, index), known)
