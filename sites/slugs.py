"""Slugs made from titles: the last part of the address of a post."""

import re
import unicodedata

from anyascii import anyascii

APOSTROPHES = re.compile("['’ʼ`]")
NOT_SLUG_CHARACTERS = re.compile("[^a-z0-9]+")


def slug_of(title: str, *, max_length: int) -> str:
    """Return `title` in lower-case Latin letters, digits and single hyphens.

    Letters of other scripts are transliterated first. Symbols, such as pictures, are left out. Empty for a
    title without letters and digits.
    """
    # NFC, so that an accent is part of its letter.
    words = APOSTROPHES.sub("", unicodedata.normalize("NFC", title))
    letters = "".join(char if unicodedata.category(char)[0] in "LNM" else " " for char in words)
    latin = APOSTROPHES.sub("", anyascii(letters)).lower()
    return NOT_SLUG_CHARACTERS.sub("-", latin).strip("-")[:max_length].strip("-")
