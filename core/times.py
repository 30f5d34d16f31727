"""Times as the API takes them: RFC 3339, with an offset."""

import re
from datetime import UTC, datetime

from core.errors import TextRefused

TIME_PATTERN = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # RFC 3339, section 5.6
MIN_YEAR = 1970
MAX_YEAR = 2200
TIME_MESSAGE = (
    f"Write a time with an offset, such as 2026-03-01T12:00:00Z or 2026-03-01T13:00:00+01:00, in a year from "
    f"{MIN_YEAR} to {MAX_YEAR}."
)


def parse_time(text: str) -> datetime:
    """Return an RFC 3339 time in UTC, to the microsecond.

    Raises TextRefused for any other text, and for a year before `MIN_YEAR` or after `MAX_YEAR`.
    """
    if not TIME_PATTERN.fullmatch(text):
        raise TextRefused(TIME_MESSAGE)
    try:
        value = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise TextRefused(TIME_MESSAGE) from None
    if not MIN_YEAR <= value.year <= MAX_YEAR:
        raise TextRefused(TIME_MESSAGE)
    return value
