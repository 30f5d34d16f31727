"""Who is the same visitor as a moment ago, for one day and without knowing who it is.

The id is a keyed hash of site, address, user agent and host under a random salt of the site's local day. The
salt dies 26 hours after that day; then nobody can tell of an id whose it was, and two days' ids never meet.
Salts are in an unlogged table that no backup reads, and in the memory of web processes.
"""

import hashlib
import secrets
from datetime import date, datetime, timedelta

from django.db import connection, transaction

from analytics.reports.time_zones import day_bounds, local_day
from core.storage.memory_cache import MemoryCache

SALT_BYTES = 16
LIVES_ON = timedelta(hours=26)  # after its day, for what was late
DAYS = timedelta(days=2)  # no salt lives longer, in any time zone, than it takes to be this old
MAX_CACHED_SALTS = 100_000

_salts: MemoryCache[tuple[int, date], bytes] = MemoryCache(MAX_CACHED_SALTS)  # by site number and day


def visitor_id(site_number: int, zone: str, *, address: str, agent: str, host: str, now: datetime) -> int:
    """63 bits that stand for a visitor until the site's midnight.

    One query for a site's first visitor of the day in this process.
    """
    day = local_day(now, zone)
    key = key_of(site_number, day, dies_at=day_bounds(day, day, zone)[1] + LIVES_ON)
    return id_of(key, site_number, address=address, agent=agent, host=host)


def id_of(key: bytes, site_number: int, *, address: str, agent: str, host: str) -> int:
    text = f"{site_number}|{address}|{agent}|{host}".encode()
    return int.from_bytes(hashlib.blake2b(text, key=key, digest_size=8).digest(), "big") >> 1


def salt_lives(moment: datetime, zone: str, *, now: datetime) -> bool:
    """Whether a visitor of that moment can still be told from others: a dead salt is not made again."""
    day = local_day(moment, zone)
    return now < day_bounds(day, day, zone)[1] + LIVES_ON


def key_of(site_number: int, day: date, *, dies_at: datetime) -> bytes:
    """The salt of a day; one that is not there yet lives until `dies_at`."""
    known = _salts.get((site_number, day))
    if known is not None:
        return known
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_salt VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [site_number, day, secrets.token_bytes(SALT_BYTES), dies_at],
        )
        cursor.execute(
            "SELECT salt FROM analytics_salt WHERE site_number = %s AND day = %s", [site_number, day]
        )
        salt = bytes(cursor.fetchone()[0])
    transaction.on_commit(lambda: _cache_salt(site_number, day, salt))  # not a salt that is rolled back
    return salt


def _cache_salt(site_number: int, day: date, salt: bytes) -> None:
    """Keep a salt, and remove those of the site's days before and all that are older than any salt may be."""
    _salts.pop_where(lambda key: key[1] < day and (key[0] == site_number or day - key[1] > DAYS))
    _salts.set((site_number, day), salt)


def delete_expired_salts(*, now: datetime) -> int:
    """Delete the salts whose time is over; return how many.

    Web processes forget theirs with the next visitor of a new day.
    """
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_salt WHERE dies_at < %s", [now])
        return int(cursor.rowcount)
