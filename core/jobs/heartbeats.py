"""Signs of life of the workers and of beat, kept in Redis for web processes to see.

The keys expire, and times are those of Redis, so that no two clocks are compared.
"""

import threading
import time
from typing import Any

from django.conf import settings
from redis import Redis, RedisError

from core.storage import redis

EVERY_SECONDS = 10.0
MISSING_AFTER_SECONDS = 60
FINISHED_KEY = "jobs:finished"  # a hash: name of the task, and the time of its last success, in seconds


def expected_processes() -> list[str]:
    """Return what must run somewhere: a worker for each queue, and beat."""
    return ["beat", *(f"worker_{queue}" for queue in settings.QUEUES)]


def missing_processes() -> set[str]:
    """Return those of `expected_processes()` that did not report within a minute. Raises RedisUnavailable."""
    names = expected_processes()
    values = redis.call(lambda client: client.mget([_key(name) for name in names]))
    return {name for name, value in zip(names, values, strict=True) if value is None}


def report_in_background(names: list[str]) -> None:
    """Report these names now and every `EVERY_SECONDS`, from a thread, as long as this process runs."""
    client = Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2)

    def report() -> None:
        while True:
            try:
                with client.pipeline(transaction=False) as pipe:
                    for name in names:
                        pipe.set(_key(name), 1, ex=MISSING_AFTER_SECONDS)
                    pipe.execute()
            except RedisError:
                pass  # the key expires, which is what an operator must see
            time.sleep(EVERY_SECONDS)

    threading.Thread(target=report, name="heartbeats", daemon=True).start()


def record_success(task: str) -> None:
    """Record that a task has just succeeded."""
    try:
        redis.call(lambda client: client.hset(FINISHED_KEY, task, client.time()[0]))
    except redis.RedisUnavailable:
        return


def last_successes() -> dict[str, int]:
    """Return the time of the last success of each task, in seconds since 1970. Raises RedisUnavailable."""
    stored: dict[Any, Any] = redis.call(lambda client: client.hgetall(FINISHED_KEY))
    return {task.decode(): int(seconds) for task, seconds in stored.items()}


def _key(name: str) -> str:
    return f"alive:{name}"
