"""Slugs of titles in any script."""

import re

import pytest
from babel import Locale, localedata

from sites.slugs import slug_of


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Große Straße", "grosse-strasse"),
        ("Rødgrød med fløde", "rodgrod-med-flode"),
        ("Łąka w maju", "laka-w-maju"),
        ("Đà Lạt", "da-lat"),
        ("Наши новости", "nashi-novosti"),
        ("Καλημέρα", "kalimera"),
        ("日本語 2", "ribenyu-2"),
        ("مرحبا بالعالم", "mrhb-bllm"),
        ("Cafe\u0301 3.1 – Größe", "cafe-3-1-grosse"),
        ("Dvořák’s 5th", "dvoraks-5th"),
        ("Straße/Platz", "strasse-platz"),
        ("Platform two\u2028platform three\u000bfour", "platform-two-platform-three-four"),
        ("👨\u200d🔧 Depot", "depot"),
        ("🎈", ""),
        ("\u200b\u00a0", ""),
        ("--", ""),
    ],
)
def test_slug_of_transliterates_before_it_strips(title, slug):
    assert slug_of(title, max_length=100) == slug


def test_the_name_of_every_language_in_its_own_script_has_a_slug():
    names = {code: Locale.parse(code).display_name or "" for code in localedata.locale_identifiers()}

    without = {code: name for code, name in names.items() if name and not slug_of(name, max_length=100)}
    assert len(set(names.values())) > 500
    assert without == {}


@pytest.mark.parametrize("length", range(1, 12))
def test_slug_of_is_cut_without_a_hyphen_at_its_end(length):
    slug = slug_of("ab cd ef gh", max_length=length)

    assert len(slug) <= length
    assert re.fullmatch("[a-z0-9]+(-[a-z0-9]+)*", slug)
