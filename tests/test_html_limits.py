"""The open tags that are counted are at least the open elements of Chromium's parser."""

import os
import random

from sites.blueprint.blocks.html_limits import iter_open_tags

SOUP_COUNT = 20_000 if os.environ.get("SOAK") else 2_000
NAMES = [
    *(
        "p",
        "b",
        "i",
        "a",
        "u",
        "code",
        "ul",
        "ol",
        "li",
        "h3",
        "h4",
        "blockquote",
        "div",
        "span",
        "sub",
        "dl",
    ),
    *("dt", "dd", "pre", "section", "table", "td", "object", "button", "select", "textarea", "svg", "form"),
]
USUAL_NAMES = NAMES[:20]
OTHER_TOKENS = ["text", "<br>", "<!-- </p> -->", '<i title="</i>">', "<b x=a'>", "<hr/>"]
# A closing </p> without a <p> makes an empty one, <br> and <hr> are leaves, and a cell gets <tbody> and <tr>.
IMPLIED_ELEMENTS = 3
# The largest depth below <body>, of each document; an element is open while it is parsed.
DEPTHS_SCRIPT = """documents => documents.map(html => {
    const body = new DOMParser().parseFromString("<!DOCTYPE html><body>" + html, "text/html").body
    const depth = node => 1 + Math.max(0, ...Array.from(node.children, depth))
    return depth(body) - 1
})"""


def make_soup(generator):
    """Random tags; half of the documents have only tags that rich text usually has."""
    names = generator.choice([NAMES, USUAL_NAMES])
    tokens = []
    for number in range(generator.randrange(1, 60)):
        name = generator.choice(names)
        tokens.append(
            generator.choice([f"<{name}>", f"<{name} x={number}>", f"</{name}>", f"</{name}>", "x"])
        )
        if names is NAMES and generator.random() < 0.05:
            tokens.append(generator.choice(OTHER_TOKENS))
    return "".join(tokens)


def test_iter_open_tags_counts_at_least_the_open_elements_of_a_parser(open_page):
    generator = random.Random(7)
    soups = [make_soup(generator) for _ in range(SOUP_COUNT)]
    page = open_page("about:blank")

    depths = page.evaluate(DEPTHS_SCRIPT, soups)

    counts = [max((len(open_tags) for open_tags in iter_open_tags(soup)), default=0) for soup in soups]
    undercounted = [
        (depth, count, soup)
        for soup, depth, count in zip(soups, depths, counts, strict=True)
        if depth > count + IMPLIED_ELEMENTS
    ]
    assert undercounted == []
    assert max(depths) > 20, "some are deep"
