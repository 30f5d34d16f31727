"""The blueprint document, which describes a whole site: its schema, its limits and its validation.

The block types are in `sites.blueprint.blocks`. Validation errors are reported as `FieldProblem`s with a
JSON Pointer.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import islice
from typing import Annotated, Any, Literal, Union

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    create_model,
)

from core.errors import FieldProblem, Invalid
from core.http.json_pointer import json_pointer
from core.text import tidy_line
from sites.blueprint.block_upgrades import upgrade_blueprint, upgrade_page
from sites.blueprint.blocks import BlockType, block_types
from sites.blueprint.blocks.fields import (
    Identifier,
    Link,
    Picture,
    Props,
    Text,
    Title,
    rich_text_budget,
    visible_line,
)
from sites.blueprint.themes import Theme

MAX_DEPTH = 12
MAX_BLOCKS = 2_000
MAX_POST_LISTS_PER_PAGE = 10
MAX_PAGE_BYTES = 1024 * 1024
MAX_BLUEPRINT_BYTES = 10 * 1024 * 1024
MAX_PAGES = 500
MAX_ERRORS = 100
MAX_LIST_ITEMS = 50_000
# Requests for these paths are answered with generated files, so no page may have them.
RESERVED_PATHS = {"/sitemap.xml", "/robots.txt", "/favicon.ico", "/favicon.svg"}

RESERVED_PATH_MESSAGE = "This path is reserved for a file that every site has."

Location = tuple[str | int, ...]  # the keys and indexes that lead to a value of the document

PagePath = Annotated[str, StringConstraints(pattern=r"^(/|(/[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?){1,6})$")]
Locale = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?$")]


class Seo(Props):
    """Metadata for search engines and link previews."""

    title: Annotated[str, StringConstraints(max_length=120), AfterValidator(tidy_line)] = ""
    description: Annotated[str, StringConstraints(max_length=320), AfterValidator(tidy_line)] = ""
    image: Picture | None = None
    noindex: bool = False


class PostSettings(Props):
    """Where posts are published: the list at `path`, each post below it."""

    path: Annotated[PagePath, StringConstraints(min_length=2)] = "/blog"
    title: Annotated[str, StringConstraints(max_length=120), AfterValidator(tidy_line)] = ""
    per_page: Annotated[int, Field(ge=1, le=50)] = 10


class SiteSettings(Props):
    """Settings of all pages. `locale` is a BCP 47 tag; its script decides the direction of text."""

    title: Title
    locale: Locale = "en"
    seo: Seo = Seo()
    footer: Text = ""
    posts: PostSettings = PostSettings()


class NavigationItem(Props):
    label: Annotated[str, StringConstraints(min_length=1, max_length=60), AfterValidator(visible_line)]
    link: Link


class Block(Props):
    """The base of all blocks; each registered block type narrows `props` and `slots`."""

    id: Identifier
    type: str
    v: int
    props: Any
    slots: Any = None


class Page(Props):
    """One page; `path` is its address on the site."""

    id: Identifier
    path: PagePath
    title: Title
    seo: Seo = Seo()
    blocks: list[Any] = []


class Blueprint(Props):
    """A whole site as one document."""

    model_config = ConfigDict(title="Blueprint")

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    theme: Theme = Theme()
    settings: SiteSettings
    navigation: Annotated[list[NavigationItem], Field(max_length=30)] = []
    pages: Annotated[list[Page], Field(max_length=MAX_PAGES)] = []
    forms: Annotated[
        list[Any], Field(max_length=0, description="Reserved for later use; must be empty.")
    ] = []


def _block_model(block_type: BlockType) -> type[BaseModel]:
    """Build the pydantic model of one block type: `Block` with its version, props and slots."""
    props_optional = all(not field.is_required() for field in block_type.props.model_fields.values())
    fields: dict[str, Any] = {
        "type": (Literal[block_type.name], ...),
        "v": (Literal[block_type.v], block_type.v),
        "props": (
            block_type.props,
            Field(default_factory=block_type.props) if props_optional else ...,
        ),
    }
    if block_type.slots:
        # `page_model` resolves the forward reference once all block types are built.
        children: Any = (
            list["AnyBlock"],  # type: ignore[name-defined]  # noqa: F821
            Field(default=[], max_length=MAX_BLOCKS),
        )
        slots: Any = dict.fromkeys(block_type.slots, children)
        model = create_model(f"{block_type.props.__name__}Slots", __base__=Props, **slots)
        fields["slots"] = (model, Field(default_factory=model))
    else:
        fields["slots"] = (create_model("NoSlots", __base__=Props), Field(default=None))
    return create_model(
        f"{block_type.props.__name__}Block", __base__=Block, __doc__=block_type.props.__doc__, **fields
    )


@cache
def page_model() -> type[Page]:
    """Return `Page` with its blocks restricted to the registered types. Call it after `django.setup()`."""
    models = {block_type.name: _block_model(block_type) for block_type in block_types().values()}
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
    """Return `Blueprint` with the blocks of its pages restricted to the registered types."""
    pages: Any = (Annotated[list[page_model()], Field(max_length=MAX_PAGES)], [])  # type: ignore[misc]
    return create_model("Blueprint", __base__=Blueprint, __doc__=Blueprint.__doc__, pages=pages)


@cache
def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a blueprint.

    Rules that JSON Schema cannot express (unique ids, sizes, depth) are stated in its description.
    """
    schema = blueprint_model().model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["description"] = (
        f"{Blueprint.__doc__} Ids are unique in the document, and so are page paths. Blocks nest at most "
        f"{MAX_DEPTH} deep. A page has at most {MAX_BLOCKS} blocks and {MAX_PAGE_BYTES} bytes of JSON, the "
        f"document at most {MAX_BLUEPRINT_BYTES} bytes. A link names a page that exists."
    )
    return schema


def validate_blueprint(document: Any) -> dict[str, Any]:
    """Return `document` with rich text sanitised, versions filled in and older blocks upgraded.

    Raises Invalid with a JSON Pointer for each problem. Older blocks are upgraded in `document` itself.
    """
    _limit_list_items(document)
    upgrade_blueprint(document)
    try:
        with rich_text_budget():
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
    """Validate the blocks of a post as `validate_blueprint` validates those of a page.

    `pages` holds the page ids that a link may name; None allows any. Raises Invalid with pointers that
    start with `/blocks`.
    """
    _limit_list_items(blocks)
    document: dict[str, Any] = {"id": "post", "path": "/", "title": "A post", "blocks": blocks}
    upgrade_page(document)
    try:
        with rich_text_budget():
            page = page_model().model_validate(document)
    except ValidationError as error:
        raise Invalid(
            [_field_problem(document, detail) for detail in error.errors(include_url=False)[:MAX_ERRORS]]
        ) from None
    clean = page.model_dump(mode="json", by_alias=True, exclude_unset=True)
    _raise_problems(_page_problems(clean, (), set(), pages))
    validated: list[dict[str, Any]] = clean["blocks"]
    return validated


def _limit_list_items(document: Any) -> None:
    """Raises Invalid when `document` has more than MAX_LIST_ITEMS list items."""
    if _count_list_items(document) > MAX_LIST_ITEMS:
        raise Invalid(
            [
                FieldProblem(
                    "", "too_many_blocks", f"A blueprint has at most {MAX_LIST_ITEMS} blocks and list items."
                )
            ]
        )


def _raise_problems(problems: Iterable[FieldProblem]) -> None:
    """Raises Invalid with the first MAX_ERRORS problems, when there are any."""
    reported = list(islice(problems, MAX_ERRORS))
    if reported:
        raise Invalid(reported)


def _count_list_items(value: Any) -> int:
    """Count the items of all lists below `value`.

    Done before validation, because pydantic keeps one error in memory for each invalid item.
    """
    if isinstance(value, dict):
        return sum(_count_list_items(item) for item in value.values())
    if isinstance(value, list):
        return len(value) + sum(_count_list_items(item) for item in value if isinstance(item, dict | list))
    return 0


def _field_problem(document: Any, error: Any) -> FieldProblem:
    """Turn one pydantic error into a problem whose pointer matches the client's document.

    Pydantic puts the tag of a discriminated union into `loc`; it is no part of the document and is left out.
    """
    current = document
    parts = []
    for part in error["loc"]:
        is_union_tag = isinstance(current, dict) and part not in current and part == current.get("type")
        if is_union_tag:
            continue
        parts.append(part)
        current = _child(current, part)
    message = error["msg"].removeprefix("Value error, ")
    return FieldProblem(json_pointer(parts), error["type"], message[:300])


def _child(value: Any, key: Any) -> Any:
    """Return the member `key` of a dictionary or list; None where there is no such member."""
    if isinstance(value, dict):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return None


def walk_blocks(
    blocks: list[dict[str, Any]], location: Location, depth: int = 1
) -> Iterator[tuple[Location, dict[str, Any], int]]:
    """Yield (location, block, depth) for every block below `blocks`, parents first; the top has depth 1.

    `location` is where `blocks` is in the document; it becomes a prefix of the yielded locations.
    """
    for index, block in enumerate(blocks):
        block_location = (*location, index)
        yield block_location, block, depth
        for name, children in (block.get("slots") or {}).items():
            yield from walk_blocks(children, (*block_location, "slots", name), depth + 1)


def _document_problems(document: dict[str, Any]) -> Iterator[FieldProblem]:
    """Find problems that no single value shows: duplicate ids and paths, broken links, exceeded limits."""
    pages = document.get("pages", [])
    page_ids = {page["id"] for page in pages}
    used_ids: set[str] = set()
    used_paths: set[str] = set()
    yield from _broken_link_problems(document.get("navigation", []), ("navigation",), page_ids)
    if document["settings"].get("posts", {}).get("path") in RESERVED_PATHS:
        yield FieldProblem("/settings/posts/path", "reserved_path", RESERVED_PATH_MESSAGE)
    for number, page in enumerate(pages):
        location: Location = ("pages", number)
        path_pointer = json_pointer((*location, "path"))
        if page["path"] in RESERVED_PATHS:
            yield FieldProblem(path_pointer, "reserved_path", RESERVED_PATH_MESSAGE)
        if page["path"] in used_paths:
            yield FieldProblem(path_pointer, "duplicate_path", "Another page has this path.")
        used_paths.add(page["path"])
        yield from _duplicate_id_problems(page["id"], location, used_ids)
        yield from _page_problems(page, location, used_ids, page_ids)


def _page_problems(
    page: dict[str, Any], location: Location, used_ids: set[str], page_ids: set[str] | None
) -> Iterator[FieldProblem]:
    """Find the problems of one page, and set the missing versions of its blocks in place."""
    block_count = 0
    post_list_count = 0
    used_anchors: set[str] = set()
    for block_location, block, depth in walk_blocks(page.get("blocks", []), (*location, "blocks")):
        block_count += 1
        post_list_count += block["type"] == "posts"
        block.setdefault("v", block_types()[block["type"]].v)
        yield from _duplicate_id_problems(block["id"], block_location, used_ids)
        yield from _broken_link_problems(block.get("props", {}), (*block_location, "props"), page_ids)
        anchor = block.get("props", {}).get("anchor")
        if anchor in used_anchors:
            pointer = json_pointer((*block_location, "props", "anchor"))
            yield FieldProblem(pointer, "duplicate_anchor", "Another block of this page has this anchor.")
        if anchor:
            used_anchors.add(anchor)
        if depth > MAX_DEPTH:
            yield FieldProblem(
                json_pointer(block_location), "too_deep", f"Blocks nest at most {MAX_DEPTH} deep."
            )
    if post_list_count > MAX_POST_LISTS_PER_PAGE:
        yield FieldProblem(
            json_pointer(location),
            "too_many_lists",
            f"A page lists posts at most {MAX_POST_LISTS_PER_PAGE} times.",
        )
    if block_count > MAX_BLOCKS:
        yield FieldProblem(
            json_pointer(location), "too_many_blocks", f"A page has at most {MAX_BLOCKS} blocks."
        )
    if len(orjson.dumps(page)) > MAX_PAGE_BYTES:
        yield FieldProblem(
            json_pointer(location), "page_too_large", f"A page has at most {MAX_PAGE_BYTES} bytes."
        )


def _duplicate_id_problems(identifier: str, location: Location, used_ids: set[str]) -> Iterator[FieldProblem]:
    if identifier in used_ids:
        yield FieldProblem(
            json_pointer((*location, "id")), "duplicate_id", "This id is used twice in the document."
        )
    used_ids.add(identifier)


def _broken_link_problems(
    value: Any, location: Location, page_ids: set[str] | None
) -> Iterator[FieldProblem]:
    """Find links below `value` to pages that do not exist; `page_ids` None accepts any page."""
    if isinstance(value, dict):
        page = value.get("page")
        if isinstance(page, str) and page_ids is not None and page not in page_ids:
            yield FieldProblem(
                json_pointer((*location, "page")), "unknown_page", "No page of this blueprint has this id."
            )
        for name, item in value.items():
            yield from _broken_link_problems(item, (*location, name), page_ids)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _broken_link_problems(item, (*location, index), page_ids)
