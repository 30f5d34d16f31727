"""The analytics settings of sites in the memory of web processes, at most a minute old."""

import time
from dataclasses import dataclass
from uuid import UUID

from django.db import DatabaseError

from analytics.models import Settings
from core import tenancy
from core.storage.memory_cache import MemoryCache

MAX_AGE_SECONDS = 60.0
PAUSE_SECONDS = 5.0  # while PostgreSQL is unavailable it is asked again after this time
MAX_SITES = 50_000


@dataclass(frozen=True, slots=True)
class CachedSettings:
    """The fields of `models.Settings` that the intake needs."""

    enabled: bool = True
    timezone: str = "UTC"
    signals: str = Settings.Signals.COUNT


@dataclass(frozen=True, slots=True)
class _Entry:
    settings: CachedSettings
    fresh_until: float


_entries: MemoryCache[UUID, _Entry] = MemoryCache(MAX_SITES)


def get_cached_settings(site_id: UUID) -> CachedSettings:
    """Return the settings of a site, at most `MAX_AGE_SECONDS` old. One query when they are older.

    While PostgreSQL is unavailable older settings are used. Raises DatabaseError when no settings are cached.
    """
    now = time.monotonic()
    entry = _entries.get(site_id)
    if entry is not None and now < entry.fresh_until:
        return entry.settings
    try:
        with tenancy.context(tenancy.SYSTEM):
            rows = Settings.objects.filter(site_id=site_id)
            row = rows.values_list("enabled", "timezone", "signals").first()
    except DatabaseError:
        if entry is None:
            raise
        _entries.set(site_id, _Entry(entry.settings, now + PAUSE_SECONDS))
        return entry.settings
    settings = CachedSettings(*row) if row else CachedSettings()
    _entries.set(site_id, _Entry(settings, now + MAX_AGE_SECONDS))
    return settings


def invalidate(site_id: UUID) -> None:
    """Remove the settings of a site from the cache of this process, after they were changed.

    Other processes read them within `MAX_AGE_SECONDS`.
    """
    _entries.pop(site_id)
