"""Days in the time zone of a site. A local day may have 23 or 25 hours when the clocks change."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError
from django.db import DataError, connection, transaction


def valid_zone(name: str) -> None:
    """Model validator for IANA time zone names that PostgreSQL knows, too. One query.

    Raises ValidationError.
    """
    try:
        if name not in available_timezones():
            raise DataError
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT now() AT TIME ZONE %s", [name])
    except DataError:
        raise ValidationError("This is not a time zone, such as Europe/Berlin.", code="timezone") from None


@lru_cache(maxsize=4096)
def start_of_day(day: date, zone: str) -> datetime:
    """The first instant of a local day, in UTC. Where midnight is skipped, the first instant after it."""
    local = datetime.combine(day, time(0), ZoneInfo(zone))
    return local.astimezone(UTC)


def day_bounds(first: date, last: date, zone: str) -> tuple[datetime, datetime]:
    """The instants [since, until) in UTC of the local days from `first` to `last`."""
    return start_of_day(first, zone), start_of_day(last + timedelta(days=1), zone)


def local_day(instant: datetime, zone: str) -> date:
    """The date of an instant in a time zone."""
    return instant.astimezone(ZoneInfo(zone)).date()


@dataclass(frozen=True, slots=True)
class DateRange:
    """Whole local days of one site.

    `sample_factor` above 1 means that only one of so many visitors is read, and sums are multiplied by it.
    """

    site_number: int
    zone: str
    first: date
    last: date
    sample_factor: int = 1

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the SQL in `sql_fragments`."""
        since, until = day_bounds(self.first, self.last, self.zone)
        return {
            "site": self.site_number,
            "since": since,
            "until": until,
            "zone": self.zone,
            "sample_factor": self.sample_factor,
        }

    @property
    def days(self) -> list[date]:
        """All days of the range, in order."""
        return [self.first + timedelta(days=count) for count in range((self.last - self.first).days + 1)]


def interval_starts(date_range: DateRange, interval: str) -> list[datetime]:
    """The first instants of all intervals of a range, in UTC.

    `interval` is minute, hour, day, week or month. The first week or month may begin before the range. Hours
    are counted from midnight, so days of 23, 24½ and 25 hours have the hours that they need.
    """
    days = date_range.days
    zone = date_range.zone
    if interval in {"minute", "hour"}:
        step = timedelta(minutes=1) if interval == "minute" else timedelta(hours=1)
        bounds = [day_bounds(day, day, zone) for day in days]
        return [
            since + step * number for since, until in bounds for number in range(-(-(until - since) // step))
        ]
    first_day_of = {
        "day": lambda day: day,
        "week": lambda day: day - timedelta(days=day.weekday()),
        "month": lambda day: day.replace(day=1),
    }
    return [start_of_day(day, zone) for day in dict.fromkeys(first_day_of[interval](day) for day in days)]
