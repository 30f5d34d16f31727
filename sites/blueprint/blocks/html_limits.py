"""Limits of HTML whose parsing could take more than linear time. The tags are scanned once, not parsed.

The open tags that are counted are at least the open elements of a parser (HTML standard, 13.2.6, "the rules
for parsing tokens in HTML content"). A test compares them with the parser of Chromium.
"""

import re
from collections.abc import Iterator

MAX_OPEN_TAGS = 100  # inside each other
MAX_OPEN_FORMATTING_TAGS = 20  # of those, because a parser repeats them in each following paragraph
MAX_ATTRIBUTES = 20  # of a tag
MAX_TAG_CHARACTERS = 5_000


def _tag_names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VOID_TAGS = _tag_names("area base br col embed hr img input link meta source track wbr")
# A parser ends these by itself when certain blocks begin. A closing tag that comes later then ends nothing.
SELF_ENDING_TAGS = _tag_names("dd dt h1 h2 h3 h4 h5 h6 li p")
# A closing tag of the others ends everything inside of it.
BLOCK_TAGS = SELF_ENDING_TAGS | _tag_names(
    "article aside blockquote div dl figcaption figure footer header main nav ol pre section ul"
)
# A parser keeps these open after the element around them ended, and opens them again in the next one.
FORMATTING_TAGS = _tag_names("a b big code em font i nobr s small strike strong tt u")
# A closing tag of these ends nothing when a block is open inside of it.
INLINE_TAGS = _tag_names("abbr cite del ins mark q span sub sup")
USUAL_TAGS = VOID_TAGS | BLOCK_TAGS | FORMATTING_TAGS | INLINE_TAGS
# A closing formatting tag with more blocks inside of it may leave a copy open.
MAX_BLOCKS_INSIDE_FORMATTING = 7

TAG_START = re.compile(r"<(?:(/?)([A-Za-z][^\s/>]*)|[!?])")
ATTRIBUTE = r"""\s++[^\s"'<>/=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s"'<>=`]++))?+"""
USUAL_ATTRIBUTES = re.compile(rf"((?:{ATTRIBUTE})*+)\s*+/?>")  # and the end of the tag
ATTRIBUTES = re.compile(ATTRIBUTE)
SEPARATORS = re.compile(r"[\s/\"']+")


def validate_tags(html: str) -> None:
    """Raise ValueError for HTML that is nested too deeply, or that has a tag with too many attributes."""
    for open_tags in iter_open_tags(html):
        formatting_count = sum(tag in FORMATTING_TAGS for tag in open_tags)
        if len(open_tags) > MAX_OPEN_TAGS or formatting_count > MAX_OPEN_FORMATTING_TAGS:
            raise ValueError("This text has too many open tags inside each other.")


def iter_open_tags(html: str) -> Iterator[list[str]]:
    """Yield the names of the open tags after each tag. Raises ValueError for a tag with too many attributes.

    After a comment, a tag that is not in `USUAL_TAGS`, or one that is not written as usual, closing tags end
    nothing: a parser may follow other rules there, or not see a tag at all.
    """
    open_tags: list[str] = []
    closing_counts = True
    position = 0
    while tag := TAG_START.search(html, position):
        name = (tag[2] or "").lower()
        attributes = USUAL_ATTRIBUTES.match(html, tag.end()) if name else None
        position = attributes.end() if attributes else tag.end()
        if name:
            _limit_attributes(html, tag.end(), attributes)
        closing_counts = closing_counts and attributes is not None and name in USUAL_TAGS
        if not tag[1] and name and name not in VOID_TAGS:
            open_tags.append(name)
        elif tag[1] and closing_counts:
            _close_tag(open_tags, name)
        yield open_tags


def _limit_attributes(html: str, start: int, attributes: re.Match[str] | None) -> None:
    """Raise ValueError when the tag that continues at `start` is too long or has too many attributes."""
    end = attributes.end() if attributes else html.find(">", start) + 1 or len(html)
    if end - start > MAX_TAG_CHARACTERS:
        raise ValueError(f"A tag of this text has more than {MAX_TAG_CHARACTERS} characters.")
    pattern = ATTRIBUTES if attributes else SEPARATORS
    if len(pattern.findall(html, start, end)) > MAX_ATTRIBUTES:
        raise ValueError(f"A tag of this text has more than {MAX_ATTRIBUTES} attributes.")


def _close_tag(open_tags: list[str], name: str) -> None:
    """Remove the tags that a closing tag is sure to end."""
    if name not in open_tags:
        return
    index = len(open_tags) - 1 - open_tags[::-1].index(name)
    inside = open_tags[index + 1 :]
    blocks_inside = [tag for tag in inside if tag not in FORMATTING_TAGS and tag not in INLINE_TAGS]
    if name in FORMATTING_TAGS:
        if len(blocks_inside) <= MAX_BLOCKS_INSIDE_FORMATTING:
            del open_tags[index]
        return
    if name == "li":  # an item whose paragraphs are not closed is common, and paragraphs do not nest
        blocks_inside = [tag for tag in blocks_inside if tag != "p"]
    if blocks_inside and (name in SELF_ENDING_TAGS or name in INLINE_TAGS):
        return
    open_tags[index:] = [tag for tag in inside if tag in FORMATTING_TAGS]
