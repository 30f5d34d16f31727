"""What block templates are written with."""

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
from sites.serving.post_pages import post_path as articles_address
from sites.serving.template_pictures import shipped_pictures

register = template.Library()
EAGER_ATTRIBUTES = mark_safe('fetchpriority="high"')
LAZY_ATTRIBUTES = mark_safe('loading="lazy" decoding="async"')


@register.simple_tag(takes_context=True)
def blocks(context: Context, children: list[Any]) -> SafeString:
    """Render each block with its own template; it sees `block`, `props`, `slots` and what the page knows."""
    types = block_types()
    html = []
    for child in children:
        with context.push(block=child, props=child.props, slots=child.slots):
            html.append(get_template(types[child.type].template).template.render(context))  # type: ignore[attr-defined]
    return mark_safe("".join(html))  # noqa: S308 - each part was autoescaped by its template


@register.simple_tag(takes_context=True)
def href(context: Context, link: Link) -> str:
    """The address a link leads to."""
    return rendering.link_url(link, context["paths"], context["prefix"])


@register.simple_tag(takes_context=True)
def rich(context: Context, html: str) -> SafeString:
    """Rich text, sanitised once more on its way out."""
    return mark_safe(clean_html(html, prefix=context["prefix"]))  # noqa: S308 - nh3 has just cleaned it


@register.simple_tag(takes_context=True)
def posts(context: Context, limit: int, tag: str | None) -> list[Post]:
    """The newest published posts; the same list is read once for a page."""
    if not context["shelf"]:
        return []
    seen: dict[tuple[int, str | None], list[Post]] = context["posts_seen"]
    if (limit, tag) not in seen:
        seen[limit, tag] = context["shelf"].posts(limit=limit, tag=tag or "")
    return seen[limit, tag]


@register.simple_tag(takes_context=True)
def post_address(context: Context, **what: Any) -> str:
    """Where a post (`slug=`), the archive of a tag (`tag=`) or the list is found."""
    return str(context["prefix"]) + articles_address(context["posts_path"], **what)


@register.simple_tag(takes_context=True)
def day(context: Context, moment: datetime) -> str:
    """A date in words of the site's language (CLDR), in UTC."""
    return format_date(moment, "long", locale=date_locale(context["site"].locale))


@cache
def date_locale(tag: str) -> Locale:
    """The CLDR locale for a BCP 47 tag, English where there is none."""
    try:
        return Locale.parse(tag, sep="-")
    except (UnknownLocaleError, ValueError):
        return Locale("en")


@register.simple_tag(takes_context=True)
def picture(
    context: Context, image: Picture | None, sizes: str = "100vw", css: str = "", eager: bool = False
) -> str:
    """An `img` that lets the browser choose its width; nothing when the picture is not there."""
    known = shipped_pictures().get(image.asset) if image else None
    if image is None or known is None:
        return ""
    prefix = context["prefix"]
    return format_html(
        '<img class="{}" src="{}" srcset="{}" sizes="{}" width="{}" height="{}" alt="{}" {}>',
        css,
        rendering.add_path_prefix(known.src, prefix),
        known.srcset.replace("/_/a/", f"{prefix}/_/a/"),
        sizes,
        known.width,
        known.height,
        image.alt,
        EAGER_ATTRIBUTES if eager else LAZY_ATTRIBUTES,
    )


@register.simple_tag(takes_context=True)
def picture_address(context: Context, image: Picture | None) -> str:
    """Absolute address of the largest width, for link previews; empty when there is none."""
    known = shipped_pictures().get(image.asset) if image else None
    return context["base_url"] + known.files[max(known.files)][0] if known else ""
