"""Closes connections to Redis from the side of the server, as a restart does."""

from contextlib import suppress

from redis.exceptions import ResponseError

from core.storage import redis, redis_scripts


def close_idle_connections() -> None:
    """Let Redis close the idle connections of this process that run scripts, and no others."""
    for connection in list(redis_scripts._idle):
        host, port = connection._socket.getsockname()
        with suppress(ResponseError):  # it is closed already
            redis.client().client_kill(f"{host}:{port}")
