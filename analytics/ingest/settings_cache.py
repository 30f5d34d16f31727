"""What an owner chose for a site, as web processes remember it: at most a minute old."""

import time
from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError

from analytics.models import Settings
from core import tenancy

KEPT_SECONDS = 60.0
PAUSE_SECONDS = 5.0
MOST = 50_000


@dataclass(frozen=True, slots=True)
class CachedSettings:
    enabled: bool = True
    timezone: str = "UTC"
    signals: str = Settings.Signals.COUNT


_known: OrderedDict[UUID, tuple[float, CachedSettings]] = OrderedDict()


def profile_of(site_id: UUID) -> CachedSettings:
    """The choices for a site.

    One query a minute. Raises DatabaseError when nothing is known and PostgreSQL is away.
    """
    now = time.monotonic()
    found = _known.get(site_id)
    if found is not None and now - found[0] < KEPT_SECONDS:
        return found[1]
    try:
        with tenancy.context(tenancy.SYSTEM):
            row = (
                Settings.objects.filter(site_id=site_id).values_list("enabled", "timezone", "signals").first()
            )
    except DatabaseError:
        if found is None:
            raise
        _known[site_id] = (
            now - KEPT_SECONDS + PAUSE_SECONDS,
            found[1],
        )  # what is known holds, and nobody waits
        return found[1]
    profile = CachedSettings(*row) if row else CachedSettings()
    _known[site_id] = (now, profile)
    if len(_known) > MOST:
        _known.popitem(last=False)
    return profile


def forget(site_id: UUID) -> None:
    """The owner chose anew; this process asks again. Others follow within a minute."""
    _known.pop(site_id, None)


def zones_of(numbers: set[int]) -> dict[int, str]:
    """The time zones of sites by number, where they have one of their own. One query. In any context."""
    with tenancy.context(tenancy.SYSTEM):
        rows = Settings.objects.filter(site__number__in=numbers).values_list("site__number", "timezone")
        return dict(rows)
