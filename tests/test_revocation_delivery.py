"""How revocations reach Redis, also after Redis was unreachable."""

import pytest

from accounts.credentials import revocation
from core.storage import redis
from tests.stack import wait_until

pytestmark = pytest.mark.django_db


def test_raise_epochs_keeps_the_higher_epoch(api):
    client = redis.client()
    revocation._raise_epochs(client, {api.user.pk: 5})
    revocation._raise_epochs(client, {api.user.pk: 4})

    assert client.get(f"epoch:{api.user.pk}") == b"5"


def test_deliver_repeats_a_failed_write_until_redis_answers_again(settings):
    working_url = settings.REDIS_URL
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    redis.client.cache_clear()
    assert not redis.deliver(lambda client: client.set("news", "1"))

    settings.REDIS_URL = working_url
    redis.client.cache_clear()

    wait_until(lambda: redis.client().get("news") == b"1", seconds=5)
