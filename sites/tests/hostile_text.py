"""Helpers for tests with hostile text: cases, ways to put them into a blueprint, and parsed HTML to compare.

The cases are in `scripts.txt`. `test_rendering.py` and `test_fields.py` examine the rendered HTML as text;
`tests/test_stored_scripts.py` opens it in a browser.
"""

import json
import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

from core.errors import Invalid
from core.http.json_pointer import json_pointer
from sites.blueprint.blocks.fields import RICH_TAGS
from sites.blueprint.schema import validate_blueprint
from sites.serving.rendering import RenderContext, render_not_found, render_page

HERE = Path(__file__).parent
EVERY_BLOCK = json.loads((HERE / "every_block.json").read_text())
URL_ATTRIBUTES = {
    "href",
    "src",
    "action",
    "formaction",
    "data",
    "poster",
    "background",
    "cite",
    "ping",
    "srcset",
    "xlink:href",
}
RICH_ATTRIBUTES = {
    ("a", "href"),
    ("a", "rel"),
    *((tag, name) for tag in RICH_TAGS for name in ("title", "lang")),
}
ALLOWED_SCHEMES = {"https", "mailto", "tel"}


def read_cases(lines):
    """Return the cases of `scripts.txt` by their group.

    Each payload contains the number of its case, so that a script that runs identifies its case.
    """
    groups = {}
    number = 0
    for line in lines:
        if line.startswith("#"):
            group = line.removeprefix("# ")
        elif line:
            number += 1
            case = json.loads(line).replace("pwned()", f"pwned({number})")
            groups.setdefault(group, []).append(case.replace("evil.example/", f"evil.example/{number}/"))
    return groups


CASES_BY_GROUP = read_cases((HERE / "scripts.txt").read_text().splitlines())
CASES = [case for cases in CASES_BY_GROUP.values() for case in cases]


class ParsedHtml(HTMLParser):
    """The tags, attributes and URLs of HTML, as the tokenizer of a browser finds them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags = Counter()
        self.names = Counter()
        self.attributes = set()
        self.urls = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.add((tag, name))
            if name in {"class", "id", "name", "rel"} and (tag, name) != ("a", "rel"):
                self.names[name, value] += 1
            if name in URL_ATTRIBUTES:
                self.urls.add(value or "")

    def handle_comment(self, data):
        self.tags["comment"] += 1

    handle_decl = handle_pi = unknown_decl = lambda self, data: self.tags.update(["declaration"])


def can_run_script(url):
    """Return whether a browser could run a script when it follows `url`."""
    plain = re.sub(r"[\t\n\r]", "", url.lstrip("".join(map(chr, range(33))))).lower()
    scheme = re.match(r"[a-z][a-z0-9+.-]*(?=:)", plain)
    return bool(scheme and scheme[0] not in ALLOWED_SCHEMES and not plain.startswith("http://x.localhost"))


def string_paths(value, path=()):
    """Yield the path (keys and indexes) of every string below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str):
            yield (*path, key)
        else:
            yield from string_paths(item, (*path, key))


def value_at(document, path):
    """Return the value of `document` at `path`."""
    for part in path:
        document = document[part]
    return document


def with_text_at(document, paths, text):
    """Return a copy of `document` with `text` at each of `paths`."""
    copy = json.loads(json.dumps(document))
    for path in paths:
        value_at(copy, path[:-1])[path[-1]] = text
    return copy


def flatten_blocks(blocks):
    """Yield every block below `blocks` without its slots."""
    for block in blocks:
        yield {name: value for name, value in block.items() if name != "slots"}
        for children in block.get("slots", {}).values():
            yield from flatten_blocks(children)


def without_indexes(path):
    """Return `path` without list indexes: the kind of a string, independent of its position in lists."""
    return tuple(part for part in path if isinstance(part, str))


def one_item_per_kind(value):
    """Return `value` with its lists reduced to items that have a kind of string which no item before has."""
    if isinstance(value, dict):
        return {key: item if key == "actions" else one_item_per_kind(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    items = value[:1]
    kinds = {without_indexes(path) for path in string_paths(value[:1])}
    for item in value[1:]:
        item_kinds = {without_indexes(path) for path in string_paths([item])}
        items += [] if item_kinds <= kinds else [item]
        kinds |= item_kinds
    return [one_item_per_kind(item) for item in items]


@cache
def compact_document():
    """Return `every_block.json` reduced to one page with each kind of string once.

    Do not modify the result.
    """
    blocks = []
    kinds = set()
    for page in EVERY_BLOCK["pages"]:
        for block in flatten_blocks(page["blocks"]):
            block_kinds = {(block["type"], *without_indexes(path)) for path in string_paths(block)}
            if not block_kinds <= kinds:
                kinds |= block_kinds
                blocks.append(one_item_per_kind(block))
    seo = {**EVERY_BLOCK["settings"]["seo"], "title": "A title"}
    only = {
        "id": "home",
        "path": "/",
        "title": "Home",
        "blocks": [*blocks, *with_outside_links(blocks)],
        "seo": seo,
    }
    text = json.dumps({**EVERY_BLOCK, "pages": [only]}).replace("/not-there", "/hero")
    return json.loads(re.sub(r'"page": "\w+"', '"page": "home"', text))


def with_outside_links(blocks):
    """Yield the blocks that link to a page once more, with an outside URL instead of the page."""
    for block in blocks:
        text = re.sub(r'"page": "\w+"', '"href": "https://example.com"', json.dumps(block))
        if text != json.dumps(block):
            yield {**json.loads(text), "id": f"{block['id']}-elsewhere"}


@cache
def text_and_url_paths():
    """Return the paths of `compact_document()` that accept any text, and those that accept URLs."""
    text_paths = set()
    url_paths = set()
    for path in string_paths(compact_document()):
        try:
            validate_blueprint(with_text_at(compact_document(), [path], "two words </any> \\"))
        except Invalid:
            if path[-1] == "href":
                url_paths.add(path)
        else:
            text_paths.add(path)
    return text_paths, url_paths


def validate_with_text(document, paths, text):
    """Put `text` at all of `paths` where validation accepts it.

    Returns the validated document, and the error code of every path that was refused.
    """
    refused = {}
    path_by_pointer = {json_pointer(path): path for path in paths}
    while True:
        try:
            return validate_blueprint(with_text_at(document, paths - refused.keys(), text)), refused
        except Invalid as refusal:
            refused |= {path_by_pointer[error.pointer]: error.code for error in refusal.errors}


def render_all_pages(document):
    """Return the HTML of every kind of page that texts of a blueprint reach, published and in a preview.

    Add new kinds of pages here.
    """
    rendered = []
    for context in (
        RenderContext("http://x.localhost"),
        RenderContext("http://x.localhost", prefix="/_/preview/x"),
    ):
        rendered += [render_page(document, page, context) for page in document["pages"]]
        rendered.append(render_not_found(document, context))
    return [page.html.decode() for page in rendered]


@cache
def harmless_document():
    """Return `compact_document()` with a harmless word at every text path. Do not modify the result."""
    return with_text_at(compact_document(), text_and_url_paths()[0], "word")


@cache
def parsed_harmless_pages():
    """Return every rendered page of `harmless_document()`, parsed."""
    return [ParsedHtml(html) for html in render_all_pages(validate_blueprint(harmless_document()))]


def added_markup(html, harmless):
    """Return the markup of `html` that `harmless`, the same page with harmless words, does not have."""
    parsed = ParsedHtml(html)
    return {
        **{tag: count for tag, count in (parsed.tags - harmless.tags).items() if tag not in RICH_TAGS},
        **{f"{tag} {name}": 1 for tag, name in parsed.attributes - harmless.attributes - RICH_ATTRIBUTES},
        **dict(parsed.names - harmless.names),
        **{url: 1 for url in parsed.urls if can_run_script(url)},
        **({"a template ran": 1} if "14{%" in html else {}),
    }


def disallowed_markup(html):
    """Return the tags, attributes and dangerous URLs of `html` that rich text may not have."""
    parsed = ParsedHtml(html)
    return (
        {tag for tag in parsed.tags if tag not in RICH_TAGS},
        parsed.attributes - RICH_ATTRIBUTES,
        {url for url in parsed.urls if can_run_script(url)},
    )
