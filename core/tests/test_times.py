"""Times with an offset: RFC 3339, section 5.6."""

from datetime import UTC, datetime

import pytest
from django.urls import get_resolver
from rest_framework import serializers

from core.errors import TextRefused
from core.http.fields import TimeField
from core.http.serializers import StrictSerializer
from core.times import parse_time


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-01T12:00:00Z",
        "2026-03-01t12:00:00z",
        "2026-03-01T13:00:00+01:00",
        "2026-02-28T22:30:00-13:30",
        "2026-03-01T12:00:00.000000Z",
        "2026-03-01T12:00:00.0Z",
    ],
)
def test_parse_time_returns_the_instant_in_utc(text):
    assert parse_time(text) == datetime(2026, 3, 1, 12, tzinfo=UTC)
    assert parse_time(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-03-01",
        "20260301T120000Z",
        "2026-03-01T12:00:00",
        "2027-03-28T02:30:00",
        "2026-03-01T12:00Z",
        "2026-03-01T12:00:00+0100",
        "2026-03-01T12:00:00+1",
        "2026-02-30T12:00:00Z",
        "2026-03-01T24:00:00Z",
        "2026-03-01T12:00:00Z ",
        "٢٠٢٦-03-01T12:00:00Z",
        "1969-12-31T23:59:59Z",
        "2201-01-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-03-01T12:00:00+25:00",
        "1772366400",
    ],
)
def test_parse_time_refuses_every_other_text_and_says_what_is_allowed(text):
    with pytest.raises(TextRefused, match="such as 2026-03-01T12:00:00Z"):
        parse_time(text)


def test_every_time_that_the_api_takes_is_a_time_field():
    get_resolver().url_patterns  # noqa: B018 - imports every serializer
    classes = [StrictSerializer]
    for serializer in classes:
        classes += serializer.__subclasses__()
    times = {
        (serializer.__name__, name): type(field)
        for serializer in classes
        for name, field in serializer._declared_fields.items()
        if isinstance(field, serializers.DateTimeField)
    }

    assert ("PostWriteSerializer", "published_at") in times
    assert set(times.values()) == {TimeField}
