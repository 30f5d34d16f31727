"""Theme presets: colours, fonts and shapes that become CSS custom properties of published pages.

Every pair of text and background meets WCAG 2.2 AA.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from sites.blueprint.blocks.fields import Color, Props


@dataclass(frozen=True, slots=True)
class Palette:
    """sRGB colours as `#rrggbb`. `on_x` is the text colour on the background colour `x`."""

    background: str
    surface: str
    border: str
    text: str
    muted: str
    accent: str
    on_accent: str
    inverse: str
    on_inverse: str


@dataclass(frozen=True, slots=True)
class Preset:
    """One theme. Fonts are stacks of system fonts, so a page loads no font file."""

    light: Palette
    dark: Palette
    heading_font: str
    body_font: str
    radius: str
    heading_weight: int


SERIF_FONTS = '"Iowan Old Style", "Palatino Linotype", Palatino, "Book Antiqua", Georgia, "Noto Serif", serif'
SANS_SERIF_FONTS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif'
)
GEOMETRIC_FONTS = (
    '"Avenir Next", Avenir, Montserrat, Corbel, "URW Gothic", "Noto Sans", source-sans-pro, sans-serif'
)

PRESETS: dict[str, Preset] = {
    "hearth": Preset(
        light=Palette(
            "#fdf8f1", "#f5ebdd", "#e3d3bd", "#2d2018", "#6b5648", "#a3401a", "#ffffff", "#33231a", "#fbf3e8"
        ),
        dark=Palette(
            "#1c1512", "#292019", "#43352b", "#f5ebe0", "#c3ad9b", "#f0925f", "#1c1512", "#3d2b21", "#fbf1e6"
        ),
        heading_font=SERIF_FONTS,
        body_font=SANS_SERIF_FONTS,
        radius="14px",
        heading_weight=600,
    ),
    "harbour": Preset(
        light=Palette(
            "#ffffff", "#f2f5f8", "#d9e0e8", "#12202f", "#506071", "#0b5cad", "#ffffff", "#0f2740", "#f2f7fc"
        ),
        dark=Palette(
            "#0d1520", "#16212f", "#2b3a4c", "#eaf0f7", "#a6b5c6", "#6bb2f5", "#0d1520", "#1d3450", "#f0f5fb"
        ),
        heading_font=GEOMETRIC_FONTS,
        body_font=SANS_SERIF_FONTS,
        radius="8px",
        heading_weight=650,
    ),
    "gallery": Preset(
        light=Palette(
            "#fafaf8", "#efefeb", "#d8d8d2", "#161616", "#5a5a55", "#161616", "#fafaf8", "#161616", "#fafaf8"
        ),
        dark=Palette(
            "#111111", "#1c1c1b", "#383836", "#f3f3ef", "#ababa4", "#f3f3ef", "#111111", "#2a2a28", "#f6f6f2"
        ),
        heading_font=GEOMETRIC_FONTS,
        body_font=SERIF_FONTS,
        radius="0px",
        heading_weight=500,
    ),
}


class Theme(Props):
    """The theme preset of a site and its changes. `mode` `auto` follows the visitor's system setting."""

    preset: Literal["hearth", "harbour", "gallery"] = "harbour"
    mode: Literal["auto", "light", "dark"] = "auto"
    accent: Annotated[
        Color | None,
        Field(description="Replaces the theme's accent colour; adjusted until its contrast is sufficient."),
    ] = None
    radius: Literal["none", "small", "large"] | None = None


RADIUS_BY_SIZE = {"none": "0px", "small": "6px", "large": "18px"}


def relative_luminance(color: str) -> float:
    """Return the relative luminance of `#rrggbb`, 0 to 1 (WCAG 2.2)."""
    channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast_ratio(first: str, second: str) -> float:
    """Return the contrast ratio of two colours, 1 to 21 (WCAG 2.2)."""
    lighter, darker = sorted((relative_luminance(first), relative_luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def adjust_for_contrast(color: str, *, backgrounds: tuple[str, ...], ratio: float = 4.6) -> str:
    """Darken or lighten `color` in steps until it has the contrast `ratio` on every background.

    WCAG 2.2 AA asks for 4.5; the default leaves room for rounding.
    """
    target = 0 if min(relative_luminance(background) for background in backgrounds) > 0.18 else 255
    for step in range(21):
        channels = (int(color[i : i + 2], 16) for i in (1, 3, 5))
        mixed = "#" + "".join(f"{round(c + (target - c) * step / 20):02x}" for c in channels)
        if all(contrast_ratio(mixed, background) >= ratio for background in backgrounds):
            return mixed
    return mixed


def _accent_colors(palette: Palette, accent: str | None) -> tuple[str, str]:
    """Return the accent colour and the text colour on it, with enough contrast for any customer choice."""
    if accent is None:
        return palette.accent, palette.on_accent
    color = adjust_for_contrast(accent, backgrounds=(palette.background, palette.surface))
    return color, max(("#ffffff", "#111111"), key=lambda text: contrast_ratio(text, color))


def favicon_colors(theme: Theme) -> tuple[str, str]:
    """Return the background colour and the letter colour of the site's favicon."""
    return _accent_colors(PRESETS[theme.preset].light, theme.accent)


def _palette_css(palette: Palette, accent: str | None) -> str:
    """Return `palette` as declarations of CSS custom properties."""
    color, on_color = _accent_colors(palette, accent)
    values = {
        "background": palette.background,
        "surface": palette.surface,
        "border": palette.border,
        "text": palette.text,
        "muted": palette.muted,
        "accent": color,
        "on-accent": on_color,
        "inverse": palette.inverse,
        "on-inverse": palette.on_inverse,
    }
    return "".join(f"--{name}:{value};" for name, value in values.items())


def theme_css(theme: Theme) -> str:
    """Return the CSS custom properties of `theme`, for the light and the dark colour scheme."""
    preset = PRESETS[theme.preset]
    light = _palette_css(preset.light, theme.accent)
    dark = _palette_css(preset.dark, theme.accent)
    radius = RADIUS_BY_SIZE[theme.radius] if theme.radius else preset.radius
    shape = (
        f"--heading-font:{preset.heading_font};--body-font:{preset.body_font};"
        f"--radius:{radius};--heading-weight:{preset.heading_weight};"
    )
    if theme.mode == "dark":
        return f":root{{color-scheme:dark;{shape}{dark}}}"
    if theme.mode == "light":
        return f":root{{color-scheme:light;{shape}{light}}}"
    return (
        f":root{{color-scheme:light dark;{shape}{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )
