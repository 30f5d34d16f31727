"""Countries and regions of addresses, from a file in MaxMind's format (GEOIP_PATH).

Without one nothing is known.
"""

from functools import cache
from typing import Any

import maxminddb
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)


@cache
def _reader() -> Any:
    if not settings.GEOIP_PATH:
        return None
    try:
        return maxminddb.open_database(settings.GEOIP_PATH, maxminddb.MODE_MMAP)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        log.error("geoip_unreadable", path=settings.GEOIP_PATH, error=type(error).__name__)
        return None


def find(address: str) -> tuple[str, str]:
    """Country (ISO 3166-1 alpha-2) and region (ISO 3166-2) of an address; empty where unknown."""
    reader = _reader()
    if reader is None:
        return "", ""
    try:
        found = reader.get(address) or {}
    except ValueError:
        return "", ""
    country = str((found.get("country") or {}).get("iso_code") or "")[:2]
    parts = found.get("subdivisions") or []
    region = str(parts[0].get("iso_code") or "")[:3] if parts and country else ""
    return country, f"{country}-{region}" if region else ""
