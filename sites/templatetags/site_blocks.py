"""What block templates are written with."""

from typing import Any

from django import template
from django.template.context import Context
from django.template.loader import get_template
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from sites import render
from sites.blocks import block_types
from sites.blocks.fields import Link, Picture, sanitise
from sites.pictures import shipped_pictures

register = template.Library()
EAGER = mark_safe('fetchpriority="high"')
LAZY = mark_safe('loading="lazy" decoding="async"')


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
    return render.href(link, context["paths"])


@register.filter
def rich(html: str) -> SafeString:
    """Rich text, sanitised once more on its way out."""
    return mark_safe(sanitise(html))  # noqa: S308 - nh3 has just cleaned it


@register.simple_tag
def picture(image: Picture | None, sizes: str = "100vw", css: str = "", eager: bool = False) -> str:
    """An `img` that lets the browser choose its width; nothing when the picture is not there."""
    known = shipped_pictures().get(image.asset) if image else None
    if image is None or known is None:
        return ""
    return format_html(
        '<img class="{}" src="{}" srcset="{}" sizes="{}" width="{}" height="{}" alt="{}" {}>',
        css,
        known.src,
        known.srcset,
        sizes,
        known.width,
        known.height,
        image.alt,
        EAGER if eager else LAZY,
    )


@register.simple_tag(takes_context=True)
def picture_address(context: Context, image: Picture | None) -> str:
    """Absolute address of the largest width, for link previews; empty when there is none."""
    known = shipped_pictures().get(image.asset) if image else None
    return context["base_url"] + known.files[max(known.files)][0] if known else ""
