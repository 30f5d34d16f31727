"""Template tags for the templates of blocks and of published pages."""

from datetime import datetime
from functools import cache
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from django import template
from django.template.context import Context
from django.template.loader import get_template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from sites.blueprint.blocks import block_types
from sites.blueprint.blocks.fields import Link, Picture, clean_html
from sites.models import Post
from sites.serving import rendering
from sites.serving.post_pages import post_path
from sites.serving.template_pictures import ShippedPicture, shipped_pictures

register = template.Library()
EAGER_ATTRIBUTES = mark_safe('fetchpriority="high"')
LAZY_ATTRIBUTES = mark_safe('loading="lazy" decoding="async"')


@register.simple_tag(takes_context=True)
def blocks(context: Context, children: list[Any]) -> SafeString:
    """Render each block with its own template.

    The template gets `block`, `props` and `slots`, and the variables of the page.
    """
    types = block_types()
    html = []
    for child in children:
        with context.push(block=child, props=child.props, slots=child.slots):
            block_template = get_template(types[child.type].template).template  # type: ignore[attr-defined]
            html.append(block_template.render(context))
    return mark_safe("".join(html))  # noqa: S308 - each part was autoescaped by its template


@register.simple_tag(takes_context=True)
def href(context: Context, link: Link) -> str:
    """Return the URL of a link."""
    return rendering.link_url(link, context["paths"], context["prefix"])


@register.simple_tag(takes_context=True)
def rich_text(context: Context, html: str) -> SafeString:
    """Return stored rich text, sanitised again in case the database was changed directly."""
    return mark_safe(clean_html(html, prefix=context["prefix"]))  # noqa: S308 - nh3 has just sanitised it


@register.simple_tag(takes_context=True)
def latest_posts(context: Context, limit: int, tag: str | None) -> list[Post]:
    """Return the newest published posts. Equal lists of one page are read once."""
    if not context["published_posts"]:
        return []
    post_lists: dict[tuple[int, str | None], list[Post]] = context["post_lists"]
    if (limit, tag) not in post_lists:
        post_lists[limit, tag] = context["published_posts"].posts(limit=limit, tag=tag or "")
    return post_lists[limit, tag]


@register.simple_tag(takes_context=True)
def post_url(context: Context, slug: str = "", tag: str = "") -> str:
    """Return the URL of a post (`slug=`), of the archive of a tag (`tag=`) or of the list of posts."""
    return str(context["prefix"]) + post_path(context["posts_path"], slug=slug, tag=tag)


@register.simple_tag(takes_context=True)
def long_date(context: Context, value: datetime) -> str:
    """Format the UTC date of `value` in the language of the site (CLDR format `long`)."""
    return format_date(value, "long", locale=date_locale(context["site"].locale))


@cache
def date_locale(tag: str) -> Locale:
    """Return the CLDR locale for a BCP 47 tag, or English when CLDR does not have it."""
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en")


@register.simple_tag(takes_context=True)
def picture(
    context: Context, image: Picture | None, sizes: str = "100vw", css: str = "", eager: bool = False
) -> str:
    """Return an `img` element with `srcset`; empty when there is no such picture.

    `css` is the value of its `class`. An `eager` picture is loaded first, any other when it comes into view.
    """
    shipped = _shipped_picture(image)
    if image is None or shipped is None:
        return ""
    prefix = context["prefix"]
    return format_html(
        '<img class="{}" src="{}" srcset="{}" sizes="{}" width="{}" height="{}" alt="{}" {}>',
        css,
        rendering.add_path_prefix(shipped.src, prefix),
        shipped.srcset.replace("/_/a/", f"{prefix}/_/a/"),
        sizes,
        shipped.width,
        shipped.height,
        image.alt,
        EAGER_ATTRIBUTES if eager else LAZY_ATTRIBUTES,
    )


@register.simple_tag(takes_context=True)
def picture_url(context: Context, image: Picture | None) -> str:
    """Return the absolute URL of the largest width, for link previews; empty without a picture."""
    shipped = _shipped_picture(image)
    return context["base_url"] + shipped.files[max(shipped.files)][0] if shipped else ""


def _shipped_picture(image: Picture | None) -> ShippedPicture | None:
    return shipped_pictures().get(image.asset) if image else None
