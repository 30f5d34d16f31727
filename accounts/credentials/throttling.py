"""Growing delays between attempts at a secret: 2, 4, 8 ... seconds once the free ones are used, kept for six
hours.

Attempts are counted for a client network, and for an account as tried from that network, never for an account
alone: nobody can lock somebody else out. A device that its owner has used before brings a cookie and has a
bucket of its own (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"), so the owner gets in while
others are slowed down.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from core.admission.rate_limits import LocalRateLimiter
from core.errors import DomainError
from core.storage import redis

LOCAL_INTERVAL_SECONDS = 12.0  # seconds an attempt while Redis is away
_local = LocalRateLimiter(5_000)


class TooManyAttempts(DomainError):
    code = "too_many_attempts"
    status = 429
    message = "Too many attempts. Wait a moment, then try again."

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = max(1, ceil(seconds))

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.seconds)}


@dataclass(frozen=True, slots=True)
class Bucket:
    """`free` attempts come without delay; the longest delay is `longest` seconds.

    `own` belongs to one account.
    """

    name: str
    free: int
    longest: int
    own: bool = True

    @property
    def key(self) -> str:
        return f"attempts:{self.name}"


def reserve_attempt(buckets: list[Bucket]) -> None:
    """Count one attempt before it is judged. Raises TooManyAttempts, and then counts nothing."""
    arguments = [number for bucket in buckets for number in (bucket.free, bucket.longest)]
    try:
        wait = (
            redis.call(lambda client: _script()(keys=[b.key for b in buckets], args=arguments, client=client))
            / 1000
        )
    except redis.RedisUnavailable:
        taken = [_local.take(b.key, interval=LOCAL_INTERVAL_SECONDS, burst=b.free) for b in buckets]
        wait = max((item.wait for item in taken if not item.allowed), default=0.0)
    if wait > 0:
        raise TooManyAttempts(wait)


def release_attempt(buckets: list[Bucket], *, proved: bool) -> None:
    """The attempt was right (`proved`: its account starts afresh), or was never judged."""

    def undo(client: Any) -> None:
        with client.pipeline(transaction=True) as pipe:
            for bucket in buckets:
                if bucket.own and proved:
                    pipe.delete(bucket.key)
                else:
                    pipe.hincrby(bucket.key, "tries", -1)
                    pipe.hset(bucket.key, "next", 0)
                    pipe.expire(bucket.key, 21600)
            pipe.execute()

    try:
        redis.call(undo)
    except redis.RedisUnavailable:
        return


@cache
def _script() -> Any:
    return redis.client().register_script((Path(__file__).parent / "throttle.lua").read_text())
