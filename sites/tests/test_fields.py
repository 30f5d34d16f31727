"""The field types of blocks: links and rich text."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.http.json_parser import is_storable
from sites.blueprint.blocks import fields
from sites.blueprint.blocks.fields import (
    MAX_RICH_TEXT_BYTES_PER_DOCUMENT,
    RICH_TAGS,
    clean_html,
    rich_text_budget,
    sanitise_rich_text,
    validate_href,
    validate_rich_text,
)
from sites.blueprint.blocks.html_limits import MAX_OPEN_TAGS
from sites.tests.hostile_text import CASES, CASES_BY_GROUP, ParsedHtml, disallowed_markup

MAX_EXAMPLES = 20_000 if os.environ.get("SOAK") else 400


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
def test_validate_href_refuses_other_schemes_and_hosts(href):
    with pytest.raises(ValueError, match="link"):
        validate_href(href)


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
def test_validate_href_returns_allowed_links_unchanged(href):
    assert validate_href(href) == href


HTML_FRAGMENTS = st.lists(
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


@given(HTML_FRAGMENTS)
def test_sanitise_rich_text_is_stable_and_removes_scripts(html):
    sanitised = sanitise_rich_text(html)

    assert sanitise_rich_text(sanitised) == sanitised
    lowered = sanitised.lower()
    assert not any(
        tag in lowered
        for tag in ("<script", "<svg", "<math", "<style", "<iframe", "<img", "<template", "<noscript", "<!--")
    )
    assert not any("javascript:" in url.lower() for url in ParsedHtml(sanitised).urls)


@pytest.mark.parametrize(
    ("html", "cleaned"),
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
def test_clean_html_keeps_allowed_tags_and_safe_links_only(html, cleaned):
    assert (sanitise_rich_text(html), clean_html(html)) == (cleaned, cleaned)


def assert_sanitised(html):
    """`html` has only allowed markup, and sanitising it again changes nothing."""
    assert (sanitise_rich_text(html), disallowed_markup(html)) == (html, (set(), set(), set())), html


@pytest.mark.parametrize("group", CASES_BY_GROUP)
def test_sanitise_rich_text_removes_hostile_markup(group):
    for case in filter(is_storable, CASES_BY_GROUP[group]):
        for html in (
            case,
            f"<p>{case}</p>",
            f'<a href="/" title="{case}">{case}</a>',
            f"<p>{case}",
            case * 2,
        ):
            assert_sanitised(sanitise_rich_text(html))


TAGS = sorted(
    {
        *RICH_TAGS,
        "button",
        "table",
        "td",
        "svg",
        "math",
        "foreignObject",
        "mtext",
        "style",
        "select",
        "template",
        "object",
        "form",
        "title",
        "noscript",
        "div",
    }
)
HTML_PIECES = st.one_of(
    st.sampled_from([case for case in CASES if is_storable(case)]),
    st.sampled_from(TAGS).map("<{}>".format),
    st.sampled_from(TAGS).map("</{}>".format),
    st.sampled_from(
        ["x", "<a href=/>", "<p title='", '"', "'", ">", "<!--", "-->", "&#13;", "&lt;", "&amp;", "\r", "\n"]
    ),
)
HTML_MIXTURES = st.recursive(
    HTML_PIECES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=5).map("".join),
        st.tuples(inner, st.floats(0, 1)).map(lambda cut: cut[0][: int(len(cut[0]) * cut[1])]),
        st.tuples(inner, inner, st.floats(0, 1)).map(
            lambda nest: (
                nest[0][: int(len(nest[0]) * nest[2])] + nest[1] + nest[0][int(len(nest[0]) * nest[2]) :]
            )
        ),
        st.tuples(st.sampled_from(TAGS), inner).map(lambda pair: f"<{pair[0]}>{pair[1]}</{pair[0]}>"),
    ),
    max_leaves=12,
)


@settings(max_examples=MAX_EXAMPLES)
@given(HTML_MIXTURES)
def test_sanitise_rich_text_removes_any_mixture_of_hostile_markup(html):
    assert_sanitised(sanitise_rich_text(html))


NESTED = {
    "nested": "<ul><li>" * 6000,
    "closing tags first": "</p>" * 500 + "<ul>" * (MAX_OPEN_TAGS + 1),
    "closing tags of other names": "<i></b>" * 6000,
    "closing tags in comments": "<ul><!-- </ul> -->" * 2700,
    "closing tags in attributes": '<ul title="</ul>">' * 2700,
    "closing tags in text": "<ul><textarea></ul></textarea>" * 1600,
    "closing tags behind a tag that is not written as usual": "<ul x=a'></ul'>" * 3000,
    "closing tag of an item outside of the inner list": "<li><ul></li>" * 3800,
    "closing tag of inline text around a block": "<span><div></span>" * 2700,
    "closing tag of an outer heading": "<h3><div><h4></h3>" * 2700,
    "closing tag of a paragraph around an object": "<p><object></p>" * 3300,
    "formatting that outlives its paragraph": "".join(f"<p><b x={number}></p>" for number in range(3000)),
    "formatting that each paragraph repeats": "<p>"
    + "".join(f"<b x={number}>" for number in range(30))
    + "</p>"
    + "<p>a</p>" * 6000,
}


@pytest.mark.parametrize("name", NESTED)
def test_validate_rich_text_refuses_deeply_nested_html_without_parsing_it(name, monkeypatch):
    monkeypatch.setattr(fields, "clean_html", lambda *arguments, **options: pytest.fail("it was parsed"))

    with pytest.raises(ValueError, match="open tags"):
        validate_rich_text(NESTED[name])


@pytest.mark.parametrize(
    "html",
    [
        "<a " + " ".join(f"a{number}" for number in range(30)) + ">",
        "<a" + "/b" * 30 + ">",
        "<a '" * 30,
        "<a " * 1700,
    ],
)
def test_validate_rich_text_refuses_many_attributes(html):
    with pytest.raises(ValueError, match=r"attributes|characters"):
        validate_rich_text("<p>" + html + "x</a></p>" + " " * 5000)


TAG_SOUP = st.lists(
    st.sampled_from(
        [
            *(
                "<p>",
                "</p>",
                "<b>",
                "</b>",
                "<b x=1>",
                "<i>",
                "</i>",
                "<a href='/x'>",
                "</a>",
                "<ul>",
                "<li>",
                "</ul>",
            ),
            *(
                "<h3>",
                "</h3>",
                "<blockquote>",
                "</blockquote>",
                "<br>",
                "<hr/>",
                "<!-- x -->",
                "<table>",
                "</table>",
            ),
            *(
                "<svg>",
                "<style>",
                "</style>",
                "<textarea>",
                "</textarea>",
                "<select>",
                "text",
                " ",
                "<",
                "&",
                '"',
            ),
        ]
    ),
    max_size=60,
).map("".join)


@settings(max_examples=MAX_EXAMPLES)
@given(TAG_SOUP)
def test_validate_rich_text_accepts_its_own_result(html):
    try:
        accepted = validate_rich_text(html)
    except ValueError:
        return
    assert validate_rich_text(accepted) == accepted


def test_rich_text_budget_counts_the_text_before_and_after_cleaning():
    text = "x" * (MAX_RICH_TEXT_BYTES_PER_DOCUMENT // 12)
    with rich_text_budget():
        for _ in range(12):
            validate_rich_text(text)
        with pytest.raises(ValueError, match="at most 512 KiB"):
            validate_rich_text(text)
    with rich_text_budget():
        for _ in range(10):
            validate_rich_text("<" * 12_000)  # each becomes &lt;
        with pytest.raises(ValueError, match="at most 512 KiB"):
            validate_rich_text("<" * 12_000)
    assert validate_rich_text(text) == text, "without a document there is no budget"


def test_validate_rich_text_accepts_many_tags_beside_each_other():
    html = "<ul>" + "<li>x</li>" * 3000 + "</ul>"

    assert validate_rich_text(html) == html
