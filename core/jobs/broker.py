"""Kombu's Redis transport and Celery's consumer, which outlive every message and a Redis without memory.

A message that no worker can read ends Celery's worker, or is logged with its content each time. Here it is
set aside in a list (`REJECTED_KEY`), counted in the metrics and logged once.
"""

import json
from queue import Empty
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer
from kombu.exceptions import OperationalError
from kombu.transport import redis as kombu_redis
from redis import Redis, RedisError, ResponseError

from core.storage import redis

REJECTED_KEY = "messages:rejected"  # a list, newest first
REJECTED_COUNT_KEY = "messages:rejected:count"
MAX_REJECTED_MESSAGES = 100
MAX_MESSAGE_CHARACTERS = 10_000

log = structlog.get_logger(__name__)


def set_aside(queue: str, content: Any, *, reason: str) -> None:
    """Keep a message that cannot be executed, so that an operator can look at it."""
    log.error("message_rejected", queue=queue, reason=reason)
    text = json.dumps({"queue": queue, "reason": reason, "content": str(content)[:MAX_MESSAGE_CHARACTERS]})

    def store(client: Redis) -> None:
        with client.pipeline(transaction=False) as pipe:
            pipe.lpush(REJECTED_KEY, text)
            pipe.ltrim(REJECTED_KEY, 0, MAX_REJECTED_MESSAGES - 1)
            pipe.incr(REJECTED_COUNT_KEY)
            pipe.execute()

    try:
        redis.call(store)
    except redis.RedisUnavailable:
        return


def rejected_count() -> int:
    """Return how many messages were set aside since Redis was last empty. Raises RedisUnavailable."""
    return int(redis.call(lambda client: client.get(REJECTED_COUNT_KEY)) or 0)


class Channel(kombu_redis.Channel):
    """Sets aside messages that are not JSON, instead of raising in the worker's event loop."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)
        except json.JSONDecodeError as error:
            set_aside("", error.doc, reason="not JSON")
            raise Empty from None

    def _get(self, queue: str, timeout: Any = None) -> Any:
        try:
            return super()._get(queue)
        except json.JSONDecodeError as error:
            set_aside(queue, error.doc, reason="not JSON")
            raise Empty from None


class Transport(kombu_redis.Transport):
    """Sets aside messages that are not those of Celery.

    A Redis without memory refuses to record that a message was taken. The message is then lost, which does no
    harm, because the work is a row; the worker goes on.
    """

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            super()._deliver(message, queue)
        except ResponseError as error:
            log.warning("message_lost", queue=queue, error=str(error)[:100])
        except OperationalError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            set_aside(queue, message, reason=f"not a message ({type(error).__name__})")


class Consumer(CeleryConsumer):
    """Sets aside messages whose body cannot be decoded, and messages for tasks that do not exist."""

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        self._reject(message, reason=f"undecodable ({type(exc).__name__})")

    def on_unknown_message(self, body: Any, message: Any) -> None:
        self._reject(message, reason="unknown format")

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._reject(message, reason=f"unknown task {str(message.headers.get('task', ''))[:100]}")

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        self._reject(message, reason="invalid arguments")

    def _reject(self, message: Any, *, reason: str) -> None:
        queue = str((message.delivery_info or {}).get("routing_key", ""))
        set_aside(queue, message.body, reason=reason)
        try:
            message.ack()
        except RedisError as error:
            log.warning("message_not_acknowledged", error=type(error).__name__)
