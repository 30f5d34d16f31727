"""Acceptable text: control characters become spaces, and what must not be empty must be visible."""

import sys
import unicodedata

import pytest
from rest_framework import serializers

from core.http.serializers import StrictSerializer
from core.text import is_visible, tidy_line, tidy_text


class NoteSerializer(StrictSerializer):
    title = serializers.CharField()
    note = serializers.CharField(allow_blank=True, required=False)
    password = serializers.CharField(trim_whitespace=False, required=False)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\u200b",
        "\u200d\u200c",
        "\u00a0\u200b",
        "\u2028",
        "\u00ad",
        "\ufeff",
        "\u3164",
        "\u2800\ufe0f",
        "\U000e0100",
    ],
)
def test_texts_of_invisible_characters_are_empty(text):
    assert not is_visible(text)
    serializer = NoteSerializer(data={"title": text})
    assert not serializer.is_valid()
    assert serializer.errors["title"][0].code == "blank"
    serializer = NoteSerializer(data={"title": "x", "tags": ["seen", text]})
    assert not serializer.is_valid()
    assert "blank" in str(serializers.ValidationError(serializer.errors).get_codes()["tags"])


@pytest.mark.parametrize(
    "text", ["a", "1️⃣", "👨\u200d🔧", "می\u200cخواهم", ".", "é", "日", "\u200bx", "\U0001fae8", "\ufffd"]
)
def test_texts_with_joiners_and_marks_stay_as_they_are(text):
    assert is_visible(text)
    assert tidy_line(text) == text
    serializer = NoteSerializer(data={"title": text})
    assert serializer.is_valid()
    assert serializer.validated_data["title"] == text


def test_no_control_character_is_left_in_any_text():
    everything = "a" + "".join(map(chr, range(sys.maxunicode + 1)))
    controls = {char for char in everything if unicodedata.category(char) in {"Cc", "Zl", "Zp"}}

    assert controls & set(tidy_text(everything)) == set("\t\n\r")
    assert controls & set(tidy_line(everything)) == set()
    assert len(tidy_text(everything)) == len(everything)


def test_serializers_replace_control_characters_except_in_passwords():
    serializer = NoteSerializer(
        data={
            "title": "two\u000bthree",
            "note": "up\u001fdown\nx",
            "password": "a\u000bb",
            "tags": ["a\u2028b"],
        }
    )

    assert serializer.is_valid()
    assert serializer.validated_data == {
        "title": "two three",
        "note": "up down\nx",
        "password": "a\u000bb",
        "tags": ["a b"],
    }
