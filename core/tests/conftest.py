"""Fixtures of the tests of core."""

import shutil

import pytest

from config import embedded_servers
from config.testing import WORKER_FOLDER
from core.storage import redis


@pytest.fixture
def own_redis(settings):
    """A Redis server that the test may stop, in place of the shared one."""
    folder = embedded_servers.server_folder(WORKER_FOLDER / "own-redis")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    server = embedded_servers.RedisServer(folder)
    settings.REDIS_URL = server.start(print)
    redis.client.cache_clear()
    try:
        yield server
        server.stop()
    finally:  # the tests after this one use the shared server again, whatever happened to this one
        redis.client.cache_clear()
        redis.close_breaker()


@pytest.fixture
def restart_redis(own_redis, settings):
    """Start the stopped server again, on another port."""

    def restart():
        settings.REDIS_URL = own_redis.start(print)
        redis.client.cache_clear()
        redis.close_breaker()

    return restart
