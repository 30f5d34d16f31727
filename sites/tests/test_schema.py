"""Validation of blueprints: the schema, the limits and the reported problems."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest

from core.errors import Invalid
from sites.blueprint import schema
from sites.blueprint.blocks import block_types
from sites.blueprint.schema import MAX_BLOCKS, MAX_DEPTH, validate_blueprint
from sites.blueprint.site_templates import site_templates
from sites.tests.factories import document, page

EVERY_BLOCK = json.loads((Path(__file__).parent / "every_block.json").read_text())
HEADING = {"id": "h", "type": "heading", "v": 1, "props": {"text": "x"}}


def problems(value):
    """Return the pointer and the code of each problem that validation reports."""
    with pytest.raises(Invalid) as caught:
        validate_blueprint(value)
    return [(error.pointer, error.code) for error in caught.value.errors]


def with_blocks(*blocks):
    return document(page("/", blocks=list(blocks)))


def test_block_types_are_all_in_every_block_json():
    used = {
        block["type"]
        for item in EVERY_BLOCK["pages"]
        for _, block, _ in schema.walk_blocks(item["blocks"], ())
    }

    assert used == set(block_types())


@pytest.mark.parametrize("key", ["bakery", "consultancy", "portfolio"])
def test_validate_blueprint_returns_site_templates_unchanged(key):
    blueprint = site_templates()[key].blueprint

    assert validate_blueprint(copy.deepcopy(blueprint)) == blueprint


def test_validate_blueprint_returns_its_own_result_unchanged():
    validated = validate_blueprint(EVERY_BLOCK)

    assert validate_blueprint(copy.deepcopy(validated)) == validated


def test_json_schema_agrees_with_validate_blueprint():
    validator = jsonschema.Draft202012Validator(schema.json_schema())
    validator.check_schema(schema.json_schema())

    assert list(validator.iter_errors(EVERY_BLOCK)) == []
    assert not validator.is_valid({**EVERY_BLOCK, "extra": 1})
    assert not validator.is_valid(with_blocks({**HEADING, "type": "nope"}))


@pytest.mark.parametrize(
    ("value", "pointer", "code"),
    [
        ({}, "/settings", "missing"),
        ([], "", "model_type"),
        (None, "", "model_type"),
        (document(extra=1), "/extra", "extra_forbidden"),
        (document(schema=2), "/schema", "literal_error"),
        (document(pages={}), "/pages", "list_type"),
        (document(pages=[1]), "/pages/0", "model_type"),
        (document(forms=[{}]), "/forms", "too_long"),
        (document(settings={"title": ""}), "/settings/title", "string_too_short"),
        (
            document(settings={"title": "x", "locale": "english"}),
            "/settings/locale",
            "string_pattern_mismatch",
        ),
        (document(theme={"accent": "red"}), "/theme/accent", "string_pattern_mismatch"),
        (document(theme={"accent": "#ffffff;} body{}"}), "/theme/accent", "string_pattern_mismatch"),
        (document(theme={"preset": "nope"}), "/theme/preset", "literal_error"),
        (document(page("/Upper")), "/pages/0/path", "string_pattern_mismatch"),
        (document(page("/a/../b")), "/pages/0/path", "string_pattern_mismatch"),
        (document(page("/_/x")), "/pages/0/path", "string_pattern_mismatch"),
        (document(page("/robots.txt", id="robots", blocks=[])), "/pages/0/path", "reserved_path"),
        (document(page("/"), page("/", id="two", blocks=[])), "/pages/1/path", "duplicate_path"),
        (document(page("/"), page("/b", id="home")), "/pages/1/id", "duplicate_id"),
        (
            document(navigation=[{"label": "x", "link": {"page": "nope"}}]),
            "/navigation/0/link/page",
            "unknown_page",
        ),
        (document(navigation=[{"label": "x", "link": {}}]), "/navigation/0/link", "value_error"),
        (with_blocks({**HEADING, "type": "nope"}), "/pages/0/blocks/0", "union_tag_invalid"),
        (with_blocks({"id": "h"}), "/pages/0/blocks/0", "union_tag_not_found"),
        (with_blocks({**HEADING, "v": 2}), "/pages/0/blocks/0/v", "literal_error"),
        (
            with_blocks({**HEADING, "props": {"text": "x", "onclick": "1"}}),
            "/pages/0/blocks/0/props/onclick",
            "extra_forbidden",
        ),
        (with_blocks({**HEADING, "props": {"text": 5}}), "/pages/0/blocks/0/props/text", "string_type"),
        (with_blocks({**HEADING, "slots": {"x": []}}), "/pages/0/blocks/0/slots/x", "extra_forbidden"),
        (with_blocks(HEADING, HEADING), "/pages/0/blocks/1/id", "duplicate_id"),
        (
            with_blocks({"id": "s", "type": "section", "slots": {"content": [{**HEADING, "props": {}}]}}),
            "/pages/0/blocks/0/slots/content/0/props/text",
            "missing",
        ),
        (
            with_blocks(
                {"id": "i", "type": "image", "props": {"image": {"asset": "https://evil.example/x.png"}}}
            ),
            "/pages/0/blocks/0/props/image/asset",
            "string_pattern_mismatch",
        ),
        (
            with_blocks(
                {"id": "m", "type": "map", "props": {"title": "x", "latitude": 1e300, "longitude": 0}}
            ),
            "/pages/0/blocks/0/props/latitude",
            "less_than_equal",
        ),
    ],
)
def test_validate_blueprint_reports_the_pointer_of_a_problem(value, pointer, code):
    assert (pointer, code) in problems(value)


def nested_sections(depth):
    blocks = [{**HEADING, "id": "deep"}]
    for number in range(depth - 1):
        blocks = [{"id": f"s{number}", "type": "section", "v": 1, "slots": {"content": blocks}}]
    return with_blocks(*blocks)


def test_validate_blueprint_limits_the_depth_of_blocks():
    assert validate_blueprint(nested_sections(MAX_DEPTH))["pages"]
    assert problems(nested_sections(MAX_DEPTH + 1))[0][1] == "too_deep"


def quotes(character, count):
    """Quotes of 2,000 characters each."""
    return [
        {"id": f"q{number}", "type": "quote", "v": 1, "props": {"text": character * 2_000}}
        for number in range(count)
    ]


def test_validate_blueprint_limits_the_blocks_and_bytes_of_a_page():
    headings = [{**HEADING, "id": f"h{number}"} for number in range(MAX_BLOCKS)]
    one_block_more = {"id": "s", "type": "section", "v": 1, "slots": {"content": headings}}
    long_texts = quotes("x", 600)

    assert validate_blueprint(with_blocks(*headings))["pages"]
    assert problems(with_blocks(one_block_more)) == [("/pages/0", "too_many_blocks")]
    assert problems(with_blocks(*long_texts)) == [("/pages/0", "page_too_large")]


def test_validate_blueprint_reports_at_most_a_hundred_problems():
    invalid_blocks = [{**HEADING, "id": f"h{number}", "props": {}} for number in range(1_000)]

    assert len(problems(with_blocks(*invalid_blocks))) == 100


def test_validate_blueprint_fills_in_missing_versions():
    validated = validate_blueprint(
        {
            "settings": {"title": "x"},
            "pages": [page("/", blocks=[{"id": "h", "type": "heading", "props": {"text": "x"}}])],
        }
    )

    assert (validated["schema"], validated["pages"][0]["blocks"][0]["v"]) == (1, 1)


def test_validate_blueprint_counts_the_size_of_a_page_in_bytes():
    assert validate_blueprint(with_blocks(*quotes("x", 300)))["pages"]
    assert problems(with_blocks(*quotes("é", 300))) == [("/pages/0", "page_too_large")]


def test_validate_blueprint_limits_the_rich_text_of_the_document():
    texts = [
        {"id": f"t{number}", "type": "text", "v": 1, "props": {"html": "<p>" + "x" * 49_000 + "</p>"}}
        for number in range(11)
    ]

    assert problems(with_blocks(*texts)) == [("/pages/0/blocks/10/props/html", "value_error")]
    assert validate_blueprint(with_blocks(*texts[:10]))["pages"]


def test_validate_blueprint_requires_one_existing_target_of_a_link():
    def button(**link):
        return with_blocks(
            {"id": "b", "type": "button", "v": 1, "props": {"actions": [{"label": "Go", "link": link}]}}
        )

    pointer = "/pages/0/blocks/0/props/actions/0/link"
    assert validate_blueprint(button(page="home"))["pages"]
    assert problems(button(page="nowhere")) == [(f"{pointer}/page", "unknown_page")]
    assert problems(button(page="home", href="/")) == [(pointer, "value_error")]


@pytest.mark.parametrize("text", ["\u200b", "\u200d\u200c", "\u00a0\u200b", "\u3164"])
@pytest.mark.parametrize(
    ("type_name", "props", "pointer"),
    [
        ("heading", {"text": "{}"}, "/text"),
        ("features", {"items": [{"title": "{}"}]}, "/items/0/title"),
        ("quote", {"text": "{}"}, "/text"),
        ("stats", {"items": [{"value": "{}", "label": "Visitors"}]}, "/items/0/value"),
    ],
)
def test_validate_blueprint_refuses_invisible_texts(type_name, props, pointer, text):
    block = {"id": "b", "type": type_name, "props": json.loads(json.dumps(props).replace("{}", text))}

    assert [found for found, _ in problems(with_blocks(block))] == [f"/pages/0/blocks/0/props{pointer}"]
    assert problems({**document(), "settings": {"title": text}})[0][0] == "/settings/title"


def test_validate_blueprint_replaces_control_characters():
    blocks = [
        {"id": "a", "type": "heading", "props": {"text": "one\u000btwo\nthree\u2028four"}},
        {"id": "b", "type": "text", "props": {"html": "<p>up\u001fdown</p>"}},
    ]

    stored = validate_blueprint(with_blocks(*blocks))["pages"][0]["blocks"]

    assert stored[0]["props"]["text"] == "one two three four"
    assert stored[1]["props"]["html"] == "<p>up down</p>"


def test_validate_blueprint_refuses_an_anchor_twice_on_a_page_at_any_depth():
    def section(identifier, *children):
        content = {"slots": {"content": list(children)}} if children else {}
        return {"id": identifier, "type": "section", "props": {"anchor": "fares"}, **content}

    duplicate = "duplicate_anchor"
    beside = with_blocks(section("a", HEADING), section("b"))
    assert problems(beside) == [("/pages/0/blocks/1/props/anchor", duplicate)]
    inside = with_blocks(section("a", section("b")))
    assert problems(inside) == [("/pages/0/blocks/0/slots/content/0/props/anchor", duplicate)]
    with pytest.raises(Invalid):
        schema.validate_blocks([section("a"), section("b")], pages=None)
    validate_blueprint(
        document(page("/", blocks=[section("a")]), page("/b", id="second", blocks=[section("b")]))
    )
