"""Script in any string of a blueprint reaches no visitor: not as a tag, not as an attribute, not as an
address.

`scripts.txt` has the cases. `tests/test_stored_xss.py` shows them to a real browser; here they are read
as text.
"""

import json
import os
import re
from collections import Counter
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import Invalid
from core.http.json_parser import is_storable
from core.http.json_pointer import json_pointer
from sites.blueprint.blocks.fields import RICH_TAGS, sanitise
from sites.blueprint.schema import validate
from sites.serving.rendering import RenderContext, render_missing, render_page

HERE = Path(__file__).parent
EVERY_BLOCK = json.loads((HERE / "every_block.json").read_text())
EXAMPLES = 20_000 if os.environ.get("SOAK") else 400
ADDRESSES = {
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
SCHEMES = {"https", "mailto", "tel"}


def read_cases(lines):
    """Cases by the group they are in.

    Each payload gets the number of its case, so that what runs says which it was.
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


GROUPS = read_cases((HERE / "scripts.txt").read_text().splitlines())
CASES = [case for cases in GROUPS.values() for case in cases]


class Seen(HTMLParser):
    """Every tag and attribute as a browser's tokenizer sees them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags = Counter()
        self.classes = Counter()
        self.attributes = set()
        self.addresses = set()
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.add((tag, name))
            if name in {"class", "id", "name", "rel"} and (tag, name) != ("a", "rel"):
                self.classes[name, value] += 1
            if name in ADDRESSES:
                self.addresses.add(value or "")

    def handle_comment(self, data):
        self.tags["comment"] += 1

    handle_decl = handle_pi = unknown_decl = lambda self, data: self.tags.update(["declaration"])


def runs(address):
    """Whether a browser would do more with this address than go there."""
    plain = re.sub(r"[\t\n\r]", "", address.lstrip("".join(map(chr, range(33))))).lower()
    scheme = re.match(r"[a-z][a-z0-9+.-]*(?=:)", plain)
    return bool(scheme and scheme[0] not in SCHEMES and not plain.startswith("http://x.localhost"))


def strings(value, place=()):
    """The place of every string below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str):
            yield (*place, key)
        else:
            yield from strings(item, (*place, key))


def at(document, place):
    for part in place:
        document = document[part]
    return document


def planted(document, places, text):
    """A copy with `text` at each of `places`."""
    copied = json.loads(json.dumps(document))
    for place in places:
        at(copied, place[:-1])[place[-1]] = text
    return copied


def each_block(blocks):
    for block in blocks:
        yield {name: value for name, value in block.items() if name != "slots"}
        for children in block.get("slots", {}).values():
            yield from each_block(children)


def kind_of(place):
    """A place whatever its position in lists."""
    return tuple(part for part in place if isinstance(part, str))


def fewer(value):
    """Lists cut down to the items that have a kind of string which the ones before do not have."""
    if isinstance(value, dict):
        return {key: item if key == "actions" else fewer(item) for key, item in value.items()}
    if not isinstance(value, list):
        return value
    kept = value[:1]
    kinds = {kind_of(place) for place in strings(value[:1])}
    for item in value[1:]:
        here = {kind_of(place) for place in strings([item])}
        kept += [] if here <= kinds else [item]
        kinds |= here
    return [fewer(item) for item in kept]


@cache
def one_of_each():
    """The strings of `every_block.json`, each kind of them once, on one page. Read only."""
    kept = []
    kinds = set()
    for page in EVERY_BLOCK["pages"]:
        for block in each_block(page["blocks"]):
            here = {(block["type"], *kind_of(place)) for place in strings(block)}
            if not here <= kinds:
                kinds |= here
                kept.append(fewer(block))
    seo = {**EVERY_BLOCK["settings"]["seo"], "title": "A title"}
    only = {"id": "home", "path": "/", "title": "Home", "blocks": [*kept, *elsewhere(kept)], "seo": seo}
    text = json.dumps({**EVERY_BLOCK, "pages": [only]}).replace("/not-there", "/hero")
    return json.loads(re.sub(r'"page": "\w+"', '"page": "home"', text))


def elsewhere(blocks):
    """The blocks with links once more, with addresses in them."""
    for block in blocks:
        text = re.sub(r'"page": "\w+"', '"href": "https://example.com"', json.dumps(block))
        if text != json.dumps(block):
            yield {**json.loads(text), "id": f"{block['id']}-elsewhere"}


@cache
def free():
    """Places in `one_of_each()` that take any words, and those that take addresses."""
    words = set()
    addresses = set()
    for place in strings(one_of_each()):
        try:
            validate(planted(one_of_each(), [place], "two words </any> \\"))
        except Invalid:
            if place[-1] == "href":
                addresses.add(place)
        else:
            words.add(place)
    return words, addresses


def accepted(document, places, text):
    """The document with `text` wherever validation lets it stand, and the codes of every refusal by place."""
    refused = {}
    by_pointer = {json_pointer(place): place for place in places}
    while True:
        try:
            return validate(planted(document, places - refused.keys(), text)), refused
        except Invalid as refusal:
            refused |= {by_pointer[error.pointer]: error.code for error in refusal.errors}


def rendered(document):
    """Every kind of page that words of a blueprint reach, published and in a preview: a new kind is added
    here.
    """
    made = []
    for scene in (
        RenderContext("http://x.localhost"),
        RenderContext("http://x.localhost", prefix="/_/preview/x"),
    ):
        made += [render_page(document, page, scene) for page in document["pages"]]
        made.append(render_missing(document, scene))
    return [page.html.decode() for page in made]


@cache
def usual():
    """`one_of_each()` with a harmless word wherever words may stand. Read only."""
    return planted(one_of_each(), free()[0], "word")


@cache
def known():
    return [Seen(html) for html in rendered(validate(usual()))]


def harm(html, calm):
    """What there is in `html` that there is not in `calm`, the same page with harmless words."""
    seen = Seen(html)
    return {
        **{tag: count for tag, count in (seen.tags - calm.tags).items() if tag not in RICH_TAGS},
        **{f"{tag} {name}": 1 for tag, name in seen.attributes - calm.attributes - RICH_ATTRIBUTES},
        **dict(seen.classes - calm.classes),
        **{address: 1 for address in seen.addresses if runs(address)},
        **({"a template ran": 1} if "14{%" in html else {}),
    }


def test_the_corpus_is_one():
    assert len(set(CASES)) == len(CASES) >= 230
    assert len(GROUPS) >= 12
    words, addresses = free()
    assert len(words) >= 70
    assert {place[0] for place in words} == {"settings", "navigation", "pages"}
    assert len(addresses) >= 5


@pytest.mark.parametrize("group", GROUPS)
def test_an_attack_in_any_string_is_refused_or_harmless(group):
    words, addresses = free()
    everywhere = {place for place in strings(usual()) if place[-1] != "type"}

    for case in GROUPS[group]:
        clean, refused = accepted(usual(), everywhere, case)

        assert {refused.get(place) for place in words} <= {None, "string_too_long"} or not is_storable(
            case
        ), case
        assert addresses <= refused.keys() or not (runs(case) or re.match(r"\s*[/\\]{2}", case)), case
        found = [harm(html, calm) for html, calm in zip(rendered(clean), known(), strict=True)]
        assert not any(found), (case, found)
        assert validate(clean) == clean, case


def test_an_attack_as_a_type_of_block_is_refused():
    for case in CASES:
        with pytest.raises(Invalid) as refusal:
            validate(planted(usual(), [("pages", 0, "blocks", 0, "type")], case))
        assert [error.pointer for error in refusal.value.errors] == ["/pages/0/blocks/0"]


def bare(html):
    """What sanitised text holds beside the few tags of rich text."""
    seen = Seen(html)
    return (
        {tag for tag in seen.tags if tag not in RICH_TAGS},
        seen.attributes - RICH_ATTRIBUTES,
        {address for address in seen.addresses if runs(address)},
    )


@pytest.mark.parametrize("group", GROUPS)
def test_rich_text_is_clean_after_one_pass_and_a_second_changes_nothing(group):
    for case in filter(is_storable, GROUPS[group]):
        for text in (
            case,
            f"<p>{case}</p>",
            f'<a href="/" title="{case}">{case}</a>',
            f"<p>{case}",
            case * 2,
        ):
            clean = sanitise(text)
            assert (sanitise(clean), bare(clean)) == (clean, (set(), set(), set())), text


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
PIECES = st.one_of(
    st.sampled_from([case for case in CASES if is_storable(case)]),
    st.sampled_from(TAGS).map("<{}>".format),
    st.sampled_from(TAGS).map("</{}>".format),
    st.sampled_from(
        ["x", "<a href=/>", "<p title='", '"', "'", ">", "<!--", "-->", "&#13;", "&lt;", "&amp;", "\r", "\n"]
    ),
)
MIXED = st.recursive(
    PIECES,
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


@settings(max_examples=EXAMPLES, deadline=None)
@given(MIXED)
def test_any_mixture_is_clean_after_one_pass_and_a_second_changes_nothing(text):
    clean = sanitise(text)

    assert (sanitise(clean), bare(clean)) == (clean, (set(), set(), set()))


def test_rich_text_is_sanitised_again_when_it_is_rendered():
    """A row that was changed behind our back is no way in either."""
    stored = validate(
        {
            "settings": {"title": "x"},
            "pages": [
                {
                    "id": "p",
                    "path": "/",
                    "title": "x",
                    "blocks": [{"id": "t", "type": "text", "props": {"html": "<p>safe</p>"}}],
                }
            ],
        }
    )
    calm = Seen(rendered(stored)[0])

    for case in filter(is_storable, CASES):
        stored["pages"][0]["blocks"][0]["props"]["html"] = f"<p>safe</p>{case}"
        html = rendered(stored)[0]
        assert (harm(html, calm), "<p>safe</p>" in html) == ({}, True), case
