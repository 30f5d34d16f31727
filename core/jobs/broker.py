"""Kombu's Redis transport and Celery's consumer, which outlive every message and a Redis without memory.

A message that no worker can read ends Celery's worker, or is logged with its content each time. Here it is
set aside in a list (`REJECTED_KEY`), counted in the metrics and logged once.
"""

import json
from queue import Empty
from typing import Any

import structlog
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.consumer.consumer import logger as celery_log
from kombu.transport import redis as kombu_redis
from kombu.transport import virtual
from redis import Redis, ResponseError

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


class QoS(kombu_redis.QoS):
    """Records which messages were taken, as far as Redis has memory for it.

    Redis refuses even the deletion of such a record in a transaction while it is full. Kombu lets that error
    end the worker. Here the worker goes on: a message that is not recorded is executed once and is lost when
    the worker dies, and one that is not deleted is executed again later. Neither does harm, because the work
    is a row.
    """

    def append(self, message: Any, delivery_tag: str) -> None:
        try:
            super().append(message, delivery_tag)
        except ResponseError as error:
            log.warning("message_not_recorded", error=str(error)[:100])
            virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except ResponseError as error:
            log.warning("message_not_acknowledged", error=str(error)[:100])
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        try:
            super().reject(delivery_tag, requeue)
        except ResponseError as error:
            log.warning("message_not_rejected", error=str(error)[:100])
            virtual.QoS.ack(self, delivery_tag)


class Channel(kombu_redis.Channel):
    """Sets aside messages that are not JSON, instead of raising in the worker's event loop."""

    QoS = QoS

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
    """Sets aside messages that are not those of Celery."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        try:
            super()._deliver(message, queue)
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
        message.ack_log_error(celery_log, self.connection_errors)
