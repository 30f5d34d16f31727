"""Finds the country and the region of an IP address in a database in MaxMind's format (`GEOIP_PATH`).

Without a database, countries and regions are unknown.
"""

from functools import cache
from typing import Any

import maxminddb
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)


@cache
def _open_database() -> Any:
    """The reader of the database, or None when no path is configured or the file cannot be read."""
    if not settings.GEOIP_PATH:
        return None
    try:
        return maxminddb.open_database(settings.GEOIP_PATH, maxminddb.MODE_MMAP)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        log.error("geoip_unreadable", path=settings.GEOIP_PATH, error=type(error).__name__)
        return None


def find_location(address: str) -> tuple[str, str]:
    """The country (ISO 3166-1 alpha-2) and the region (ISO 3166-2) of an address; empty when unknown."""
    database = _open_database()
    if database is None:
        return "", ""
    try:
        record = database.get(address) or {}
    except ValueError:
        return "", ""
    country = str((record.get("country") or {}).get("iso_code") or "")[:2]
    subdivisions = record.get("subdivisions") or []
    region = str(subdivisions[0].get("iso_code") or "")[:3] if subdivisions and country else ""
    return country, f"{country}-{region}" if region else ""
