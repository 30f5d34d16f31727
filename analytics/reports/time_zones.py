"""Days as a site's owner sees them: in their time zone, 23 or 25 hours long twice a year."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.db import DataError, connection, transaction


def valid_zone(name: str) -> None:
    """Raise ValidationError for what is no IANA time zone that PostgreSQL knows, too. One query."""
    try:
        if name not in available_timezones():
            raise DataError
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT now() AT TIME ZONE %s", [name])
    except DataError:
        raise ValidationError("This is not a time zone, such as Europe/Berlin.", code="timezone") from None


@lru_cache(maxsize=4096)
def day_starts(day: date, zone: str) -> datetime:
    """The first instant of a local day, in UTC. Where midnight does not exist it is the first one after."""
    local = datetime.combine(day, time(0), ZoneInfo(zone))
    return local.astimezone(UTC)


def day_bounds(first: date, last: date, zone: str) -> tuple[datetime, datetime]:
    """[since, until) in UTC of the days from `first` to `last`."""
    return day_starts(first, zone), day_starts(last + timedelta(days=1), zone)


def local_day(moment: datetime, zone: str) -> date:
    return moment.astimezone(ZoneInfo(zone)).date()


@dataclass(frozen=True, slots=True)
class Span:
    """Whole local days of one site; with a `sample`, one visitor of that many."""

    site: int
    zone: str
    first: date
    last: date
    sample: int = 1

    @property
    def bounds(self) -> dict[str, Any]:
        since, until = day_bounds(self.first, self.last, self.zone)
        return {"site": self.site, "since": since, "until": until, "zone": self.zone, "sample": self.sample}


def starts(span: Span, interval: str) -> list[datetime]:
    """The first instants of all intervals of a span; of weeks and months also of the one that it begins
    within. An hour is the hour of a day, so days of 23, 24½ and 25 hours have theirs.
    """
    days = [span.first + timedelta(days=count) for count in range((span.last - span.first).days + 1)]
    if interval in {"minute", "hour"}:
        step = timedelta(minutes=1) if interval == "minute" else timedelta(hours=1)
        bounds = [day_bounds(day, day, span.zone) for day in days]
        return [
            since + step * number for since, until in bounds for number in range(-(-(until - since) // step))
        ]
    first_of = {
        "day": lambda day: day,
        "week": lambda day: day - timedelta(days=day.weekday()),
        "month": lambda day: day.replace(day=1),
    }
    return [day_starts(day, span.zone) for day in dict.fromkeys(first_of[interval](day) for day in days)]
