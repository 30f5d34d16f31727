"""Acceptable text from people, for every field: no control characters, and something that is visible."""

import re
import unicodedata

# Control characters but for tab and line ends, and the separators of lines and paragraphs of Unicode.
CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")
LINE_ENDS = re.compile("[\t\n\r]")
# Letters and marks that show nothing: fillers of Hangul, the empty pattern of Braille, variation selectors,
# and what Unicode reserves for such characters. Characters that this Python does not know yet are visible.
INVISIBLE_LETTERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\uffa0\ufe00-\ufe0f\ufff0-\ufff8\ufffe\uffff"
    "\U000e0000-\U000e0fff]"
)
INVISIBLE_CATEGORIES = {"Zs", "Zl", "Zp", "Cc", "Cf", "Cs"}
INVISIBLE_MESSAGE = "Write something that can be seen."


def tidy_text(text: str) -> str:
    """Return `text` with a space in place of each control character, and none at its ends.

    Tabs and line ends stay within the text.
    """
    return text if text.isprintable() else CONTROLS.sub(" ", text).strip()


def tidy_line(text: str) -> str:
    """Return `text` on one line, with a space in place of each control character, tab and line end."""
    return text if text.isprintable() else LINE_ENDS.sub(" ", tidy_text(text)).strip()


def is_visible(text: str) -> bool:
    """Return whether people see something of `text`: not only spaces, joiners and other format characters."""
    return any(
        unicodedata.category(char) not in INVISIBLE_CATEGORIES and not INVISIBLE_LETTERS.match(char)
        for char in text
    )
