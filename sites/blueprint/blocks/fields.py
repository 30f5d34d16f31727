"""Field types for the props of blocks. Each type validates one kind of customer input."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Literal
from urllib.parse import urlsplit

import nh3
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from core.text import INVISIBLE_MESSAGE, is_visible, tidy_line, tidy_text
from sites.blueprint.blocks.html_limits import validate_tags

RICH_TAGS = {
    "p",
    "br",
    "strong",
    "em",
    "b",
    "i",
    "u",
    "s",
    "code",
    "a",
    "ul",
    "ol",
    "li",
    "blockquote",
    "h3",
    "h4",
    "hr",
}
MAX_RICH_TEXT_CHARACTERS = 50_000
MAX_SANITISE_PASSES = 4
MAX_RICH_TEXT_BYTES_PER_DOCUMENT = 512 * 1024
LINK_SCHEMES = {"https", "mailto", "tel"}
_FORBIDDEN_IN_HREF = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029\\]")


class Props(BaseModel):
    """Base of all blueprint models: unknown keys are refused, and values are immutable after validation."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, ser_json_inf_nan="constants"
    )


def clean_html(html: str, *, prefix: str = "") -> str:
    """Return rich text reduced to `RICH_TAGS` and safe links.

    `prefix` is put before links within the site, so that they stay within a preview.
    """

    def filter_attribute(tag: str, name: str, value: str) -> str | None:
        if name == "href" and (
            value.startswith("//") or "\\" in value
        ):  # it starts like a path, but browsers open another site
            return None
        return prefix + value if name == "href" and value.startswith("/") else value

    return nh3.clean(
        html,
        tags=RICH_TAGS,
        attributes={"a": {"href", "title"}},
        url_schemes=LINK_SCHEMES,
        link_rel="noopener",
        strip_comments=True,
        attribute_filter=filter_attribute,
    )


def sanitise_rich_text(html: str) -> str:
    """Apply `clean_html` until another pass changes nothing, so that browsers parse the result as nh3 did.

    HTML that is still unstable after MAX_SANITISE_PASSES loses all its tags and keeps only its text.
    """
    for _ in range(MAX_SANITISE_PASSES):
        cleaned = clean_html(html).strip()
        if cleaned == html or len(cleaned) > MAX_RICH_TEXT_CHARACTERS:
            return cleaned
        html = cleaned
    return clean_html(nh3.clean(html, tags=set())).strip()


def validate_href(href: str) -> str:
    """Accept `https:`, `mailto:`, `tel:` and links inside the site (`/path`, `#anchor`)."""
    if _FORBIDDEN_IN_HREF.search(href) or href.startswith("//"):
        raise ValueError("Use an https, mailto, tel or site link without spaces.")
    if href.startswith(("/", "#")):
        return href
    try:
        parts = urlsplit(href)
    except ValueError:
        raise ValueError("This is not a valid link.") from None
    if parts.scheme.lower() not in LINK_SCHEMES:
        raise ValueError("Use an https, mailto, tel or site link.")
    if parts.scheme.lower() == "https" and not parts.hostname:
        raise ValueError("This link has no host.")
    return href


def validate_tag(tag: str) -> str:
    """Refuse `.` and `..`: a tag is one part of a URL path, and browsers resolve these two as directories."""
    if tag in {".", ".."}:
        raise ValueError("This text cannot be a tag.")
    return tag


# The bytes of rich text that the document under validation may still have; None without a limit.
_budget: ContextVar[list[int] | None] = ContextVar("rich_text_budget", default=None)


@contextmanager
def rich_text_budget() -> Iterator[None]:
    """Limit the rich text that is validated while the block runs to MAX_RICH_TEXT_BYTES_PER_DOCUMENT."""
    token = _budget.set([MAX_RICH_TEXT_BYTES_PER_DOCUMENT])
    try:
        yield
    finally:
        _budget.reset(token)


def _spend_rich_text_budget(size: int) -> None:
    """Raise ValueError when the document has too many bytes of rich text."""
    budget = _budget.get()
    if budget is None:
        return
    budget[0] -= size
    if budget[0] < 0:
        kibibytes = MAX_RICH_TEXT_BYTES_PER_DOCUMENT // 1024
        raise ValueError(f"The rich text of a document has at most {kibibytes} KiB.")


def validate_rich_text(html: str) -> str:
    """Return `html` sanitised. Raises ValueError when it is nested too deeply or becomes too long.

    Sanitising can make text longer. What is stored must pass validation again, so that all limits apply to
    the result, too.
    """
    size = len(html.encode(errors="surrogatepass"))
    _spend_rich_text_budget(size)
    validate_tags(html)
    cleaned = tidy_text(sanitise_rich_text(tidy_text(html)))  # a character reference may name a control
    _spend_rich_text_budget(max(0, len(cleaned.encode(errors="surrogatepass")) - size))
    validate_tags(cleaned)
    if len(cleaned) > MAX_RICH_TEXT_CHARACTERS:
        raise ValueError(f"This text has more than {MAX_RICH_TEXT_CHARACTERS} characters after cleaning.")
    return cleaned


def visible_line(text: str) -> str:
    """Return `text` on one line. Raises ValueError when nothing of it can be seen."""
    return require_visible(tidy_line(text))


def require_visible(text: str) -> str:
    """Return `text`. Raises ValueError when nothing of it can be seen."""
    if not is_visible(text):
        raise ValueError(INVISIBLE_MESSAGE)
    return text


Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(tidy_line)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(visible_line)]
Text = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(tidy_text)]
RichText = Annotated[
    str,
    StringConstraints(max_length=MAX_RICH_TEXT_CHARACTERS),
    AfterValidator(validate_rich_text),
    Field(json_schema_extra={"contentMediaType": "text/html"}),
]
Href = Annotated[str, StringConstraints(min_length=1, max_length=2_000), AfterValidator(validate_href)]
Tag = Annotated[
    str,
    StringConstraints(min_length=1, max_length=40, pattern=r"^[^\x00-\x1f\x7f/\\]+$"),
    AfterValidator(validate_tag),
    AfterValidator(require_visible),
]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
AssetId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9-]{0,62})?$")]
Color = Annotated[str, StringConstraints(pattern=r"^#[0-9a-fA-F]{6}$")]
Align = Literal["start", "center", "end"]


class Picture(Props):
    """A picture of the site or of its template. `alt` describes it, and is empty for decoration."""

    asset: AssetId
    alt: Line = ""


class Link(Props):
    """The target of a link: a page of this site by its id, or an address."""

    page: Identifier | None = None
    href: Href | None = None

    @model_validator(mode="after")
    def has_one_target(self) -> "Link":
        if (self.page is None) == (self.href is None):
            raise ValueError("Give either page or href.")
        return self


class Action(Props):
    """A button: its label, its link and its style."""

    label: Annotated[str, StringConstraints(min_length=1, max_length=60), AfterValidator(visible_line)]
    link: Link
    style: Literal["primary", "secondary", "ghost"] = "primary"
