"""Theme presets: contrast of their colours, and the CSS that pages get."""

import pytest

from sites.blueprint.themes import (
    PRESETS,
    Theme,
    adjust_for_contrast,
    contrast_ratio,
    favicon_colors,
    relative_luminance,
    theme_css,
)

AA_CONTRAST = 4.5  # WCAG 2.2, success criterion 1.4.3


def test_relative_luminance_is_0_for_black_and_1_for_white():
    assert (relative_luminance("#000000"), relative_luminance("#ffffff")) == (0, pytest.approx(1))


def test_contrast_ratio_is_21_for_black_and_white_in_either_order():
    assert contrast_ratio("#000000", "#ffffff") == contrast_ratio("#ffffff", "#000000") == pytest.approx(21)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_presets_have_enough_contrast_between_text_and_background(name, scheme):
    palette = getattr(PRESETS[name], scheme)
    pairs = [
        (palette.text, palette.background),
        (palette.text, palette.surface),
        (palette.muted, palette.background),
        (palette.accent, palette.background),
        (palette.on_accent, palette.accent),
        (palette.on_inverse, palette.inverse),
    ]

    assert [pair for pair in pairs if contrast_ratio(*pair) < AA_CONTRAST] == []


@pytest.mark.parametrize("color", ["#ffffff", "#ffee00", "#000000", "#7f7f7f", "#0b5cad"])
@pytest.mark.parametrize("backgrounds", [("#ffffff", "#f2f5f8"), ("#0d1520", "#16212f")])
def test_adjust_for_contrast_reaches_the_ratio_on_every_background(color, backgrounds):
    adjusted = adjust_for_contrast(color, backgrounds=backgrounds)

    assert min(contrast_ratio(adjusted, background) for background in backgrounds) >= AA_CONTRAST


def test_adjust_for_contrast_leaves_a_color_with_enough_contrast_unchanged():
    assert adjust_for_contrast("#0b5cad", backgrounds=("#ffffff",)) == "#0b5cad"


def test_theme_css_follows_the_mode_of_the_theme():
    css = {mode: theme_css(Theme(mode=mode)) for mode in ("auto", "light", "dark")}

    assert css["auto"].startswith(":root{color-scheme:light dark;")
    assert "@media (prefers-color-scheme:dark)" in css["auto"]
    assert css["light"].startswith(":root{color-scheme:light;")
    assert css["dark"].startswith(":root{color-scheme:dark;")
    assert "@media" not in css["light"] + css["dark"]


def test_favicon_colors_have_enough_contrast_for_any_accent():
    assert contrast_ratio(*favicon_colors(Theme(accent="#ffee00"))) >= AA_CONTRAST
