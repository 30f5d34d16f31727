"""What docs/blueprints.md says about blueprints is so: examples, tables, limits, pictures."""

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
    GUIDE,
    MADE_FROM,
    MAX_BYTES,
    PICTURES,
    digest,
    examples,
    sections,
    whole,
    with_blocks,
)
from sites.blueprint import schema as blueprint
from sites.blueprint.blocks import block_types, fields
from sites.blueprint.schema import validate, walk
from sites.blueprint.themes import Theme
from sites.tests.factories import SiteFactory

TEXT = GUIDE.read_text()
SECTIONS = sections(TEXT)
TABLES = {
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
}  # what has a table of its own: elsewhere it is named, with a link
LIMITS = {
    "pages": blueprint.MAX_PAGES,
    "blocks on a page": blueprint.MAX_BLOCKS,
    "levels of blocks": blueprint.MAX_DEPTH,
    "bytes of one page": blueprint.MAX_PAGE_BYTES,
    "bytes of the document": blueprint.MAX_BYTES,
    "list items in all": blueprint.MAX_THINGS,
    "characters of one rich text": fields.MAX_RICH,
    "errors in one answer": blueprint.MAX_ERRORS,
}


def pattern(kind):
    return TypeAdapter(kind).json_schema()["pattern"]


FORMS = {
    pattern(fields.Identifier): "[id](#ids)",
    pattern(fields.AssetId): "picture id",
    pattern(fields.Color): "colour, `#rrggbb`",
    pattern(blueprint.Locale): "language tag",
    pattern(blueprint.PagePath): "path",
}


def bounds(schema, low, high):
    if low in schema and high in schema:
        return f"{schema[low]:,} to {schema[high]:,}"
    return f"up to {schema[high]:,}" if high in schema else ""


def described(schema):
    """What may stand there, in the words of the tables."""
    if "anyOf" in schema:
        return described(next(option for option in schema["anyOf"] if option != {"type": "null"}))
    if "$ref" in schema:
        model = schema["$ref"].rpartition("/")[2]
        name = next((name for name, known in TABLES.items() if known.__name__ == model), "")
        return f"[{name}](#{name.replace(' ', '-')})" if name else ""
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    return SIMPLE[schema["type"]](schema)


def listed(schema):
    if schema.get("maxItems") == 0:
        return "empty list"
    items = described(schema["items"]) if schema["items"] else "[block](#blocks)"
    many = ", ".join(filter(None, ["list", bounds(schema, "minItems", "maxItems")]))
    return f"{many}: {items}" if items else many


def written(schema):
    if "contentMediaType" in schema:
        return "[rich text](#rich-text)"
    if schema.get("pattern") in FORMS:
        return FORMS[schema["pattern"]]
    kind = "text of a fixed form" if "pattern" in schema else "text"
    return ", ".join(filter(None, [kind, bounds(schema, "minLength", "maxLength")]))


SIMPLE = {
    "array": listed,
    "string": written,
    "boolean": lambda schema: "`true`, `false`",
    "integer": lambda schema: f"whole number, {bounds(schema, 'minimum', 'maximum')}",
    "number": lambda schema: f"number, {bounds(schema, 'minimum', 'maximum')}",
}


def unless_given(field):
    """What holds where nothing is written."""
    value = field.get_default(call_default_factory=True)
    if field.is_required():
        return "required"
    if isinstance(value, BaseModel):
        return "its defaults"
    if value is None:
        return "none"
    return "empty" if value in ("", []) else f"`{json.dumps(value).strip(chr(34))}`"


def part(annotation):
    """The model that a list holds, when it has no table of its own."""
    if get_origin(annotation) in (Annotated, Union, UnionType, list):
        return next((found for inner in get_args(annotation) if (found := part(inner))), None)
    own = (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and annotation not in TABLES.values()
    )
    return annotation if own else None


def rows(model, before=""):
    """The table of `model`, without the meanings: name, what may stand there, what holds where nothing is
    written.
    """
    properties = model.model_json_schema()["properties"]
    for name, field in model.model_fields.items():
        key = field.alias or name
        yield f"`{before}{key}`", described(properties[key]), unless_given(field)
        inner = part(field.annotation)
        yield from rows(inner, f"{before}{key}[].") if inner else ()


def table(text, head):
    """The first three columns of the table whose first column is headed `head`."""
    found = re.search(rf"^\| {head} \|.*\n\|[-|]+\|\n((?:\|.*\n)*)", text, re.MULTILINE)
    lines = found[1].splitlines() if found else []
    return [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in lines]


def test_every_block_type_has_its_section():
    assert set(SECTIONS) == set(block_types())


@pytest.mark.parametrize("name", sorted(SECTIONS))
def test_a_section_has_the_props_the_slots_an_example_and_a_picture_of_its_block_type(name):
    kind = block_types()[name]
    text = SECTIONS[name]
    slots = re.search(r"^Slots: (.*)\.$", text, re.MULTILINE)
    used = {block["type"] for block_example in examples(text) for block in blocks_of(block_example)}
    picture = PICTURES / f"{name}.webp"

    assert table(text, "prop") == list(rows(kind.props))
    assert tuple(slots[1].replace("`", "").split(", ") if slots else ()) == kind.slots
    assert name in used
    assert f"](images/blocks/{name}.webp)" in text
    assert picture.read_bytes()[8:12] == b"WEBP"
    assert picture.stat().st_size <= MAX_BYTES


def test_the_pictures_were_made_from_the_examples_as_they_are():
    """If not: `make pictures`, and look at them."""
    assert json.loads(MADE_FROM.read_text()) == {name: digest(TEXT, name) for name in SECTIONS}


@pytest.mark.parametrize("name", TABLES)
def test_the_other_tables_are_complete(name):
    assert table(TEXT, name) == list(rows(TABLES[name]))


def blocks_of(example):
    return [block for _, block, _ in walk(example if isinstance(example, list) else [example], ())]


def as_document(example):
    """`example` where it belongs in the guide's blueprint: a whole one, one member of it, or blocks."""
    if isinstance(example, list) or "type" in example:
        return with_blocks(TEXT, example)
    return {**deepcopy(whole(TEXT)), **deepcopy(example)}


def is_answer(example):
    return isinstance(example, dict) and "errors" in example


def test_every_example_is_accepted_but_the_one_that_is_answered_with_errors(api):
    shown = examples(TEXT)
    refused = [before for before, after in pairwise(shown) if is_answer(after)]
    site = SiteFactory(owner=api.user)

    for example in shown:
        if example not in refused and not is_answer(example):
            validate(as_document(example))
    assert len(refused) == 1
    with pytest.raises(Invalid):
        validate(deepcopy(refused[0]))
    answer = api.put(f"sites/{site.pk}/blueprint", refused[0], if_match=1)
    assert answer.json() == next(filter(is_answer, shown))


def test_the_limits_are_these():
    assert table(TEXT, "limit") == [(name, f"{most:,}", "") for name, most in LIMITS.items()]


def test_the_tags_and_schemes_are_these():
    kept = re.search(r"^Kept: (.*?)\.$", TEXT, re.MULTILINE | re.DOTALL)
    schemes = re.search(r"\(`([a-z`, ]+)`\)", TEXT[TEXT.index("### Link") :])

    assert set(re.findall(r"`(\w+)`", kept[1])) == fields.RICH_TAGS
    assert set(schemes[1].split("`, `")) == fields.LINK_SCHEMES


def test_links_within_the_guide_lead_somewhere():
    heads = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    there = {head.lower().replace("`", "").replace(" ", "-") for head in heads}

    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= there
