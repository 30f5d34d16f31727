"""Computes visitor ids that are valid for one day of one site, and cannot be traced back to a person.

An id is a keyed hash of site, IP address, user agent and host. Its key is a random salt of the site's local
day. The salt is deleted 26 hours after this day; from then on the id cannot be computed again, and ids of
different days cannot be connected. Salts are stored in an unlogged table that is not part of backups, and
in the memory of processes.
"""

import hashlib
import secrets
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from analytics.time_zones import day_bounds, local_day
from core.storage.memory_cache import MemoryCache

SALT_BYTES = 16
# How long a salt is kept after its day, so that late events can still be counted.
SALT_GRACE_PERIOD = timedelta(hours=26)
# In every time zone, a salt that is this much older than another has expired.
MAX_SALT_AGE = timedelta(days=2)
MAX_CACHED_SALTS = 100_000

_salts: MemoryCache[tuple[int, date], bytes] = MemoryCache(MAX_CACHED_SALTS)  # by site number and day


def compute_visitor_id(
    site_number: int, zone: str, *, address: str, user_agent: str, host: str, now: datetime
) -> int:
    """An id of 63 bits that is the same for one visitor until the site's midnight.

    One query for the first visitor of a site and day in this process.
    """
    day = local_day(now, zone)
    salt = get_or_create_salt(site_number, day, expires_at=_salt_expires_at(day, zone))
    return hash_visitor(salt, site_number, address=address, user_agent=user_agent, host=host)


def hash_visitor(salt: bytes, site_number: int, *, address: str, user_agent: str, host: str) -> int:
    """The keyed hash of a visitor, in 63 bits."""
    text = f"{site_number}|{address}|{user_agent}|{host}".encode()
    return int.from_bytes(hashlib.blake2b(text, key=salt, digest_size=8).digest(), "big") >> 1


def is_salt_available(instant: datetime, zone: str, *, now: datetime) -> bool:
    """Whether the salt of the day of `instant` has not expired. An expired salt is never replaced."""
    return now < _salt_expires_at(local_day(instant, zone), zone)


def _salt_expires_at(day: date, zone: str) -> datetime:
    return day_bounds(day, day, zone)[1] + SALT_GRACE_PERIOD


def get_or_create_salt(site_number: int, day: date, *, expires_at: datetime) -> bytes:
    """The salt of a day. A new one is stored until `expires_at`."""
    cached = _salts.get((site_number, day))
    if cached is not None:
        return cached
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_salt VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [site_number, day, secrets.token_bytes(SALT_BYTES), expires_at],
        )
        cursor.execute(
            "SELECT salt FROM analytics_salt WHERE site_number = %s AND day = %s", [site_number, day]
        )
        salt = bytes(cursor.fetchone()[0])
    # Cached after the commit only, because a transaction that is rolled back does not store the salt.
    transaction.on_commit(lambda: _cache_salt(site_number, day, salt))
    return salt


def _cache_salt(site_number: int, day: date, salt: bytes) -> None:
    """Cache a salt, and remove the site's earlier salts and all others older than `MAX_SALT_AGE`."""
    _salts.pop_where(lambda key: key[1] < day and (key[0] == site_number or day - key[1] > MAX_SALT_AGE))
    _salts.set((site_number, day), salt)


def delete_expired_salts(*, now: datetime) -> int:
    """Delete expired salts from the database; return how many.

    Processes remove theirs from memory with the first visitor of the next day.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_salt WHERE dies_at < %s", [now])
        return int(cursor.rowcount)
