"""The transport of Celery's messages on a real Redis that has no memory left."""

import pytest
from django.conf import settings
from kombu import Connection, Queue

from core.jobs.broker import Transport
from core.storage import redis


@pytest.fixture
def consumer(own_redis):
    """A consumer of the queue `box` that collects its messages in `received`."""
    connection = Connection(settings.REDIS_URL, transport=Transport)
    channel = connection.channel()
    box = Queue("box", channel=channel)
    box.declare()
    received = []
    consumer = connection.Consumer([box], callbacks=[lambda body, message: received.append(message)])
    consumer.received = received
    with consumer:
        yield consumer
        redis.client().config_set("maxmemory", 0)
    connection.close()


def send_and_receive(consumer, body):
    producer = consumer.connection.Producer()
    producer.publish(body, routing_key="box", exchange="")
    consumer.connection.drain_events(timeout=5)


def fill_redis():
    redis.client().config_set("maxmemory", 1)


@pytest.mark.parametrize("end", ["ack", "reject", "requeue"])
def test_a_message_that_was_taken_before_redis_was_full_ends_without_an_error(consumer, end):
    send_and_receive(consumer, "work")
    fill_redis()

    getattr(consumer.received[0], end)()

    redis.client().config_set("maxmemory", 0)
    send_and_receive(consumer, "more work")  # the consumer goes on
    assert consumer.received[-1].payload == "more work"


def test_a_message_that_cannot_be_recorded_is_delivered(consumer):
    producer = consumer.connection.Producer()
    producer.publish("work", routing_key="box", exchange="")
    fill_redis()

    consumer.connection.drain_events(timeout=5)

    assert [message.payload for message in consumer.received] == ["work"]
    consumer.received[0].ack()
