"""Days as a site's owner sees them: in their time zone, 23 or 25 hours long twice a year."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from django.core.exceptions import ValidationError


def valid_zone(name: str) -> None:
    """Raise ValidationError for what is no IANA time zone."""
    if name not in available_timezones():
        raise ValidationError("This is not a time zone, such as Europe/Berlin.", code="timezone")


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
