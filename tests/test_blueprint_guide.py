"""docs/blueprints.md agrees with the code: examples, tables, limits and pictures."""

import json
import re
from copy import deepcopy
from itertools import pairwise
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, TypeAdapter

from core.errors import Invalid
from docs.pictures import (
    EXAMPLE_DIGESTS,
    GUIDE,
    MAX_PICTURE_BYTES,
    PICTURES,
    block_sections,
    blueprint_with_blocks,
    example_digest,
    guide_blueprint,
    json_examples,
)
from sites.blueprint import schema as blueprint
from sites.blueprint.blocks import block_types, fields
from sites.blueprint.schema import validate_blueprint, walk_blocks
from sites.blueprint.themes import Theme
from sites.tests.factories import SiteFactory

GUIDE_TEXT = GUIDE.read_text()
BLOCK_SECTIONS = block_sections(GUIDE_TEXT)
MODELS_WITH_TABLES = {
    "document": blueprint.Blueprint,
    "theme": Theme,
    "settings": blueprint.SiteSettings,
    "posts settings": blueprint.PostSettings,
    "seo": blueprint.Seo,
    "navigation item": blueprint.NavigationItem,
    "page": blueprint.Page,
    "link": fields.Link,
    "action": fields.Action,
    "picture": fields.Picture,
}  # models with a table of their own; other tables link to it
LIMITS = {
    "pages": blueprint.MAX_PAGES,
    "blocks on a page": blueprint.MAX_BLOCKS,
    "levels of blocks": blueprint.MAX_DEPTH,
    "bytes of one page": blueprint.MAX_PAGE_BYTES,
    "bytes of the document": blueprint.MAX_BLUEPRINT_BYTES,
    "list items in all": blueprint.MAX_LIST_ITEMS,
    "characters of one rich text": fields.MAX_RICH_TEXT_CHARACTERS,
    "errors in one answer": blueprint.MAX_ERRORS,
}


def pattern_of(kind):
    return TypeAdapter(kind).json_schema()["pattern"]


TEXT_BY_PATTERN = {
    pattern_of(fields.Identifier): "[id](#ids)",
    pattern_of(fields.AssetId): "picture id",
    pattern_of(fields.Color): "colour, `#rrggbb`",
    pattern_of(blueprint.Locale): "language tag",
    pattern_of(blueprint.PagePath): "path",
}


def describe_bounds(schema, low, high):
    if low in schema and high in schema:
        return f"{schema[low]:,} to {schema[high]:,}"
    return f"up to {schema[high]:,}" if high in schema else ""


def describe_value(schema):
    """The allowed values of a JSON Schema, in the words of the tables."""
    if "anyOf" in schema:
        return describe_value(next(option for option in schema["anyOf"] if option != {"type": "null"}))
    if "$ref" in schema:
        model = schema["$ref"].rpartition("/")[2]
        name = next(
            (name for name, documented in MODELS_WITH_TABLES.items() if documented.__name__ == model), ""
        )
        return f"[{name}](#{name.replace(' ', '-')})" if name else ""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return DESCRIBE_BY_TYPE[schema["type"]](schema)


def describe_list(schema):
    if schema.get("maxItems") == 0:
        return "empty list"
    items = describe_value(schema["items"]) if schema["items"] else "[block](#blocks)"
    description = ", ".join(filter(None, ["list", describe_bounds(schema, "minItems", "maxItems")]))
    return f"{description}: {items}" if items else description


def describe_text(schema):
    if "contentMediaType" in schema:
        return "[rich text](#rich-text)"
    if schema.get("pattern") in TEXT_BY_PATTERN:
        return TEXT_BY_PATTERN[schema["pattern"]]
    kind = "text of a fixed form" if "pattern" in schema else "text"
    return ", ".join(filter(None, [kind, describe_bounds(schema, "minLength", "maxLength")]))


DESCRIBE_BY_TYPE = {
    "array": describe_list,
    "string": describe_text,
    "boolean": lambda schema: "`true`, `false`",
    "integer": lambda schema: f"whole number, {describe_bounds(schema, 'minimum', 'maximum')}",
    "number": lambda schema: f"number, {describe_bounds(schema, 'minimum', 'maximum')}",
}


def describe_default(field):
    """The default of a field, in the words of the tables."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None:
        return "none"
    return "empty" if value in ("", []) else f"`{json.dumps(value).strip(chr(34))}`"


def nested_model(annotation):
    """The pydantic model inside an annotation. None without one, or when it has a table of its own."""
    if get_origin(annotation) in (Annotated, Union, UnionType, list):
        return next((model for inner in get_args(annotation) if (model := nested_model(inner))), None)
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model and annotation not in MODELS_WITH_TABLES.values() else None


def table_rows(model, prefix=""):
    """The table of `model` without its last column, the meaning: name, allowed values and default."""
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield f"`{prefix}{key}`", describe_value(properties[key]), describe_default(field)
        nested = nested_model(field.annotation)
        yield from table_rows(nested, f"{prefix}{key}[].") if nested else ()


def documented_rows(text, head):
    """The first three columns of the Markdown table whose first column is headed `head`."""
    match = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)*)", text, re.MULTILINE)
    lines = match[1].splitlines() if match else []
    return [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in lines]


def test_blueprint_guide_has_a_section_for_every_block_type():
    assert set(BLOCK_SECTIONS) == set(block_types())


@pytest.mark.parametrize("name", sorted(BLOCK_SECTIONS))
def test_blueprint_guide_section_has_props_slots_example_and_picture_of_its_block_type(name):
    block_type = block_types()[name]
    text = BLOCK_SECTIONS[name]
    slots = re.search(r"^Slots: (.*)\.$", text, re.MULTILINE)
    used_types = {block["type"] for example in json_examples(text) for block in all_blocks(example)}
    picture = PICTURES / f"{name}.webp"

    assert documented_rows(text, "prop") == list(table_rows(block_type.props))
    assert tuple(slots[1].replace("`", "").split(", ") if slots else ()) == block_type.slots
    assert name in used_types
    assert f"](images/blocks/{name}.webp)" in text
    assert picture.read_bytes()[8:12] == b"WEBP"
    assert picture.stat().st_size <= MAX_PICTURE_BYTES


def test_blueprint_guide_pictures_show_the_current_examples():
    """When it fails, run `make pictures` and review the pictures."""
    assert json.loads(EXAMPLE_DIGESTS.read_text()) == {
        name: example_digest(GUIDE_TEXT, name) for name in BLOCK_SECTIONS
    }


@pytest.mark.parametrize("name", MODELS_WITH_TABLES)
def test_blueprint_guide_tables_list_every_field(name):
    assert documented_rows(GUIDE_TEXT, name) == list(table_rows(MODELS_WITH_TABLES[name]))


def all_blocks(example):
    return [block for _, block, _ in walk_blocks(example if isinstance(example, list) else [example], ())]


def as_blueprint(example):
    """The blueprint of the guide with `example` in it: a whole blueprint, members of one, or blocks."""
    if isinstance(example, list) or "type" in example:
        return blueprint_with_blocks(GUIDE_TEXT, example)
    return {**deepcopy(guide_blueprint(GUIDE_TEXT)), **deepcopy(example)}


def is_error_response(example):
    return isinstance(example, dict) and "errors" in example


def test_blueprint_guide_examples_are_accepted_except_the_one_with_an_error_response(api):
    all_examples = json_examples(GUIDE_TEXT)
    refused = [example for example, following in pairwise(all_examples) if is_error_response(following)]
    site = SiteFactory(owner=api.user)

    for example in all_examples:
        if example not in refused and not is_error_response(example):
            validate_blueprint(as_blueprint(example))
    assert len(refused) == 1
    with pytest.raises(Invalid):
        validate_blueprint(deepcopy(refused[0]))
    response = api.put(f"sites/{site.pk}/blueprint", refused[0], if_match=1)
    assert response.json() == next(filter(is_error_response, all_examples))


def test_blueprint_guide_states_the_limits_of_the_code():
    assert documented_rows(GUIDE_TEXT, "limit") == [
        (name, f"{limit:,}", "") for name, limit in LIMITS.items()
    ]


def test_blueprint_guide_states_the_rich_text_tags_and_link_schemes_of_the_code():
    tags = re.search(r"^Kept: (.*?)\.$", GUIDE_TEXT, re.MULTILINE | re.DOTALL)
    schemes = re.search(r"\(`([a-z`, ]+)`\)", GUIDE_TEXT[GUIDE_TEXT.index("### Link") :])

    assert set(re.findall(r"`(\w+)`", tags[1])) == fields.RICH_TAGS
    assert set(schemes[1].split("`, `")) == fields.LINK_SCHEMES


def test_blueprint_guide_links_lead_to_its_own_headings():
    headings = re.findall(r"^#+ (.*)$", GUIDE_TEXT, re.MULTILINE)
    anchors = {heading.lower().replace("`", "").replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", GUIDE_TEXT)) <= anchors
