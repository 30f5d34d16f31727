"""Arguments of the backup commands."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime

import pytest

from backups.cli import parse_database_url, parse_datetime


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("2026-11-20T12:00Z", datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ("2026-11-20 12:00", datetime(2026, 11, 20, 12, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC)),
        ("20261120", datetime(2026, 11, 20, 23, 59, 59, 999999, tzinfo=UTC)),
    ],
)
def test_parse_datetime_takes_a_date_as_the_end_of_that_day(text, parsed):
    assert parse_datetime(text) == parsed


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", ""])
def test_parse_datetime_refuses(text):
    with pytest.raises(ArgumentTypeError, match="is not a time"):
        parse_datetime(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("restored", "must be a URL"),
        ("mysql://host/name", "must be a URL"),
        ("postgresql://host", "does not name a database"),
        ("postgresql://host/%zz", "is wrong"),
    ],
)
def test_parse_database_url_refuses_in_one_line(text, message):
    with pytest.raises(ArgumentTypeError, match=message) as error:
        parse_database_url(text)
    assert "\n" not in str(error.value)
