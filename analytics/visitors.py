"""Who is the same visitor as a moment ago, for one day and without knowing who it is.

The id is a keyed hash of site, address, user agent and host under a random salt of the site's local day. The salt dies 26 hours after that day;
then nobody can tell of an id whose it was, and two days' ids never meet. Salts are in an unlogged table that no backup reads, and in the memory of
web processes.
"""

import hashlib
import secrets
import threading
from datetime import date, datetime, timedelta

from django.db import connection

from analytics.zones import day_bounds, local_day

SALT_BYTES = 16
LIVES_ON = timedelta(hours=26)  # after its day, for what was late
MOST = 100_000  # salts in memory

_salts: dict[tuple[int, date], bytes] = {}
_lock = threading.Lock()


def visitor_id(site_number: int, zone: str, *, address: str, agent: str, host: str, now: datetime) -> int:
    """63 bits that stand for a visitor until the site's midnight. One query for a site's first visitor of the day in this process."""
    salt = _salt(site_number, local_day(now, zone), zone)
    text = f"{site_number}|{address}|{agent}|{host}".encode()
    return int.from_bytes(hashlib.blake2b(text, key=salt, digest_size=8).digest(), "big") >> 1


def _salt(site_number: int, day: date, zone: str) -> bytes:
    known = _salts.get((site_number, day))
    if known is not None:
        return known
    dies_at = day_bounds(day, day, zone)[1] + LIVES_ON
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO analytics_salt VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [site_number, day, secrets.token_bytes(SALT_BYTES), dies_at],
        )
        cursor.execute("SELECT salt FROM analytics_salt WHERE site_number = %s AND day = %s", [site_number, day])
        salt = bytes(cursor.fetchone()[0])
    with _lock:
        for old in [key for key in _salts if key[0] == site_number and key[1] < day]:
            del _salts[old]  # in memory it lives no longer than anybody asks for it
        if len(_salts) >= MOST:
            _salts.clear()
        _salts[site_number, day] = salt
    return salt


def forget_salts(*, now: datetime) -> int:
    """Delete the salts whose time is over; return how many. Those in memory go too, even where nobody visits any more."""
    with _lock:
        for old in [key for key in _salts if key[1] < now.date() - timedelta(days=2)]:
            del _salts[old]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM analytics_salt WHERE dies_at < %s", [now])
        return int(cursor.rowcount)
