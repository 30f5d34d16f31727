"""Growing delays between attempts at a secret: 2, 4, 8 ... seconds after some free attempts.

Counters expire after six hours. Attempts are counted for a client network, and for an account as tried from
that network. They are never counted for an account alone, so an attacker cannot lock its owner out. A known
device has a bucket of its own (OWASP, "Slow Down Online Guessing Attacks with Device Cookies"), so the owner
can sign in while others are delayed.
"""

from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from core.admission.rate_limits import LocalRateLimiter
from core.errors import DomainError
from core.storage import redis

COUNTER_LIFETIME_SECONDS = 21600  # also in throttle.lua
LOCAL_INTERVAL_SECONDS = 12.0  # between attempts in one process while Redis is unavailable
_local = LocalRateLimiter(5_000)


class TooManyAttempts(DomainError):
    """The caller must wait for `seconds`."""

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
    """A counter of attempts. `free_attempts` are not delayed; later ones by at most `max_delay_seconds`.

    A `per_account` bucket belongs to one account and is cleared by a successful attempt.
    """

    name: str
    free_attempts: int
    max_delay_seconds: int
    per_account: bool = True

    @property
    def key(self) -> str:
        """Redis key of the bucket."""
        return f"attempts:{self.name}"


def reserve_attempt(buckets: list[Bucket]) -> None:
    """Count an attempt in all buckets before it is verified.

    Raises TooManyAttempts during a delay, and counts nothing then.
    """
    keys = [bucket.key for bucket in buckets]
    arguments = [number for bucket in buckets for number in (bucket.free_attempts, bucket.max_delay_seconds)]
    try:
        milliseconds = redis.call(lambda client: _script()(keys=keys, args=arguments, client=client))
        wait_seconds = milliseconds / 1000
    except redis.RedisUnavailable:
        results = [
            _local.take(bucket.key, interval=LOCAL_INTERVAL_SECONDS, burst=bucket.free_attempts)
            for bucket in buckets
        ]
        wait_seconds = max((result.wait for result in results if not result.allowed), default=0.0)
    if wait_seconds > 0:
        raise TooManyAttempts(wait_seconds)


def release_attempt(buckets: list[Bucket], *, succeeded: bool) -> None:
    """Take back an attempt that `succeeded` or was never verified.

    A success clears the buckets of its account. Does nothing while Redis is unavailable.
    """

    def release(client: Any) -> None:
        with client.pipeline(transaction=True) as pipe:
            for bucket in buckets:
                if bucket.per_account and succeeded:
                    pipe.delete(bucket.key)
                else:
                    pipe.hincrby(bucket.key, "tries", -1)
                    pipe.hset(bucket.key, "next", 0)
                    pipe.expire(bucket.key, COUNTER_LIFETIME_SECONDS)
            pipe.execute()

    try:
        redis.call(release)
    except redis.RedisUnavailable:
        return


@cache
def _script() -> Any:
    return redis.client().register_script((Path(__file__).parent / "throttle.lua").read_text())
