"""What a blueprint may be, and what is said about one that is none."""

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Invalid
from sites.blueprint import schema
from sites.blueprint.blocks import block_types
from sites.blueprint.blocks.fields import clean_html, sanitise_rich_text, validate_href
from sites.blueprint.schema import MAX_BLOCKS, MAX_DEPTH, validate_blueprint
from sites.blueprint.site_templates import site_templates
from sites.tests.factories import document, page
from sites.tests.test_hostile_text import Seen

EVERY_BLOCK = json.loads((Path(__file__).parent / "every_block.json").read_text())
HEADING = {"id": "h", "type": "heading", "v": 1, "props": {"text": "x"}}


def faults(value):
    with pytest.raises(Invalid) as caught:
        validate_blueprint(value)
    return [(error.pointer, error.code) for error in caught.value.errors]


def with_blocks(*blocks):
    return document(page("/", blocks=list(blocks)))


def test_the_test_document_holds_every_block_type():
    used = {
        block["type"]
        for item in EVERY_BLOCK["pages"]
        for _, block, _ in schema.walk_blocks(item["blocks"], ())
    }

    assert used == set(block_types())


@pytest.mark.parametrize("key", ["bakery", "consultancy", "portfolio"])
def test_site_templates_are_valid_and_kept_as_written(key):
    written = site_templates()[key].blueprint

    assert validate_blueprint(copy.deepcopy(written)) == written


def test_validation_is_stable_under_a_second_pass():
    once = validate_blueprint(EVERY_BLOCK)

    assert validate_blueprint(copy.deepcopy(once)) == once


def test_the_published_schema_accepts_what_we_accept_and_refuses_what_it_can_see():
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
def test_a_fault_is_named_with_its_place(value, pointer, code):
    assert (pointer, code) in faults(value)


def nest(depth):
    inner = [{**HEADING, "id": "deep"}]
    for number in range(depth - 1):
        inner = [{"id": f"s{number}", "type": "section", "v": 1, "slots": {"content": inner}}]
    return with_blocks(*inner)


def test_blocks_nest_to_the_limit_and_no_further():
    assert validate_blueprint(nest(MAX_DEPTH))["pages"]
    assert faults(nest(MAX_DEPTH + 1))[0][1] == "too_deep"


def test_a_page_has_at_most_so_many_blocks_and_bytes():
    many = [{**HEADING, "id": f"h{number}"} for number in range(MAX_BLOCKS)]
    full = {"id": "s", "type": "section", "v": 1, "slots": {"content": many}}
    fat = [
        {"id": f"t{number}", "type": "text", "v": 1, "props": {"html": "<p>" + "x" * 49_000 + "</p>"}}
        for number in range(22)
    ]

    assert validate_blueprint(with_blocks(*many))["pages"]
    assert faults(with_blocks(full)) == [("/pages/0", "too_many_blocks")]
    assert faults(with_blocks(*fat)) == [("/pages/0", "page_too_large")]


def test_a_thousand_faults_are_answered_with_the_first_hundred():
    assert (
        len(faults(with_blocks(*({**HEADING, "id": f"h{number}", "props": {}} for number in range(1_000)))))
        == 100
    )


def test_versions_are_filled_in():
    saved = validate_blueprint(
        {
            "settings": {"title": "x"},
            "pages": [page("/", blocks=[{"id": "h", "type": "heading", "props": {"text": "x"}}])],
        }
    )

    assert (saved["schema"], saved["pages"][0]["blocks"][0]["v"]) == (1, 1)


@pytest.mark.parametrize(
    "href",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "http://example.com",
        "ftp://x",
        "https:",
        "https://",
        "https:///x",
        "x",
        "mailto",
        "",
        "https://exa mple.com",
        "https://[::1",
        "file:///etc/passwd",
    ],
)
def test_links_elsewhere_than_the_allowed_are_refused(href):
    with pytest.raises(ValueError, match=r".") as refused:
        validate_href(href)

    assert "link" in str(refused.value)


@pytest.mark.parametrize(
    "href",
    [
        "https://example.com/a?b=c#d",
        "mailto:a@example.com",
        "tel:+441632960000",
        "/about",
        "#contact",
        "/a#b",
        "/",
    ],
)
def test_allowed_links_are_kept(href):
    assert validate_href(href) == href


RICH = st.lists(
    st.sampled_from(
        [
            "<p>",
            "</p>",
            "<script>",
            "</script>",
            "<svg>",
            "<math>",
            "<style>",
            "<a href='javascript:x'>",
            "<a href=https://e.com>",
            "</a>",
            "<img src=x onerror=a>",
            "<b",
            ">",
            "&lt;",
            "&#60;",
            "x",
            '"',
            "'",
            "<!--",
            "-->",
            "<![CDATA[",
            "]]>",
            "<noscript>",
            "<template>",
            "<iframe srcdoc=x>",
            "\x00",
            "<p onclick=x>",
            "</style>",
            "<title>",
        ]
    ),
    max_size=12,
).map("".join)


@given(RICH)
def test_sanitised_text_is_stable_and_holds_no_way_to_run_a_script(html):
    clean = sanitise_rich_text(html)

    assert sanitise_rich_text(clean) == clean
    lowered = clean.lower()
    assert not any(
        bad in lowered
        for bad in ("<script", "<svg", "<math", "<style", "<iframe", "<img", "<template", "<noscript", "<!--")
    )
    assert not any("javascript:" in str(found).lower() for found in Seen(clean).addresses)


def test_a_page_may_have_bytes_to_the_limit_however_few_characters_they_are():
    wide = [
        {"id": f"t{number}", "type": "text", "v": 1, "props": {"html": "<p>" + "é" * 30_000 + "</p>"}}
        for number in range(20)
    ]

    assert faults(with_blocks(*wide)) == [("/pages/0", "page_too_large")]


def test_a_link_leads_to_one_place_that_is_there():
    def button(**link):
        return with_blocks(
            {"id": "b", "type": "button", "v": 1, "props": {"actions": [{"label": "Go", "link": link}]}}
        )

    place = "/pages/0/blocks/0/props/actions/0/link"
    assert validate_blueprint(button(page="home"))["pages"]
    assert faults(button(page="nowhere")) == [(f"{place}/page", "unknown_page")]
    assert faults(button(page="home", href="/")) == [(place, "value_error")]


@pytest.mark.parametrize(
    ("html", "kept"),
    [
        (
            '<a href="https://example.com" title="t" target="_blank" onclick="x">a</a>',
            '<a href="https://example.com" title="t" rel="noopener">a</a>',
        ),
        ('<a href="http://example.com">a</a>', '<a rel="noopener">a</a>'),
        ('<a href="javascript:alert(1)">a</a>', '<a rel="noopener">a</a>'),
        ('<a href="//evil.example">a</a>', '<a rel="noopener">a</a>'),
        ('<a href="/\\evil.example">a</a>', '<a rel="noopener">a</a>'),
        ('<a href="/about">a</a>', '<a href="/about" rel="noopener">a</a>'),
        ('<p style="color: red" class="x" id="y">a</p>', "<p>a</p>"),
        ("<h1>a</h1><h3>b</h3><img src=x><!-- c --><script>d</script>", "a<h3>b</h3>"),
    ],
)
def test_rich_text_keeps_plain_tags_and_safe_links_only(html, kept):
    assert (sanitise_rich_text(html), clean_html(html)) == (kept, kept)
