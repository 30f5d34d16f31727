"""Rendering of blueprints with hostile text: no script of a blueprint reaches visitors.

No string may add a tag, an attribute or a dangerous URL to a page. `hostile_text.py` has the helpers.
"""

import re

import pytest

from core.errors import Invalid
from core.http.json_parser import is_storable
from core.text import tidy_text
from sites.blueprint.schema import validate_blueprint
from sites.serving.rendering import minify_css
from sites.tests.hostile_text import (
    CASES,
    CASES_BY_GROUP,
    ParsedHtml,
    added_markup,
    can_run_script,
    harmless_document,
    parsed_harmless_pages,
    render_all_pages,
    string_paths,
    text_and_url_paths,
    validate_with_text,
    with_text_at,
)


def test_hostile_text_covers_many_cases_and_every_part_of_a_blueprint():
    text_paths, url_paths = text_and_url_paths()

    assert len(set(CASES)) == len(CASES) >= 230
    assert len(CASES_BY_GROUP) >= 12
    assert len(text_paths) >= 70
    assert {path[0] for path in text_paths} == {"settings", "navigation", "pages"}
    assert len(url_paths) >= 5


@pytest.mark.parametrize("group", CASES_BY_GROUP)
def test_validate_blueprint_refuses_hostile_text_or_render_page_escapes_it(group):
    text_paths, url_paths = text_and_url_paths()
    all_paths = {path for path in string_paths(harmless_document()) if path[-1] != "type"}

    for case in CASES_BY_GROUP[group]:
        validated, refused = validate_with_text(harmless_document(), all_paths, case)

        is_hostile_url = can_run_script(case) or re.match(r"\s*[/\\]{2}", case)
        codes = {refused.get(path) for path in text_paths}
        assert codes <= {None, "string_too_long"} or not is_storable(case), case
        assert url_paths <= refused.keys() or not is_hostile_url, case
        added = [
            added_markup(html, harmless)
            for html, harmless in zip(render_all_pages(validated), parsed_harmless_pages(), strict=True)
        ]
        # A text of control characters becomes empty, and a link without a text is labelled otherwise.
        assert not any(added) or not tidy_text(case), (case, added)
        assert validate_blueprint(validated) == validated, case


def test_validate_blueprint_refuses_hostile_text_as_a_block_type():
    for case in CASES:
        with pytest.raises(Invalid) as refusal:
            validate_blueprint(with_text_at(harmless_document(), [("pages", 0, "blocks", 0, "type")], case))
        assert [error.pointer for error in refusal.value.errors] == ["/pages/0/blocks/0"]


def test_render_page_sanitises_rich_text_that_was_changed_in_the_database():
    block = {"id": "t", "type": "text", "props": {"html": "<p>safe</p>"}}
    stored = validate_blueprint(
        {
            "settings": {"title": "x"},
            "pages": [{"id": "p", "path": "/", "title": "x", "blocks": [block]}],
        }
    )
    harmless = ParsedHtml(render_all_pages(stored)[0])

    for case in filter(is_storable, CASES):
        stored["pages"][0]["blocks"][0]["props"]["html"] = f"<p>safe</p>{case}"
        html = render_all_pages(stored)[0]
        assert (added_markup(html, harmless), "<p>safe</p>" in html) == ({}, True), case


def test_minify_css_removes_comments_indentation_and_empty_lines():
    css = "/* a */\na {\n  color: red; /* b */\n\n}\n/* c"

    assert minify_css(css) == "a {\ncolor: red;\n}"
