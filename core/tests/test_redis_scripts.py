"""Scripts over plain connections: nothing is sent twice, and no reply reaches another request."""

import threading

import pytest

from core.storage import redis, redis_scripts
from core.storage.redis_scripts import Script
from tests.redis_connections import close_idle_connections

ECHO = Script("return ARGV[1]")
COUNT = Script("return redis.call('INCR', KEYS[1])")


def test_run_returns_the_reply_and_loads_a_script_that_redis_does_not_know(own_redis):

    assert ECHO.run([], ["a"]) == b"a"
    assert ECHO.run_many([([], ["b"]), ([], ["c"])]) == [b"b", b"c"]


def test_run_raises_for_an_error_of_the_script():
    with pytest.raises(redis.RedisUnavailable):
        Script("return redis.call('NO-SUCH-COMMAND')").run([], [])


def test_run_uses_a_new_connection_after_redis_has_closed_an_idle_one(monkeypatch):
    monkeypatch.setattr(redis_scripts, "UNCHECKED_SECONDS", 0)
    before = redis_scripts.reconnections()
    ECHO.run([], ["a"])
    close_idle_connections()

    assert ECHO.run([], ["b"]) == b"b"
    assert redis_scripts.reconnections() > before


def test_run_sends_nothing_twice_when_the_connection_closes_meanwhile():
    """A connection that was used a moment ago is not looked at: the caller gets an error."""
    COUNT.run(["number"], [])
    close_idle_connections()

    with pytest.raises(redis.RedisUnavailable):
        COUNT.run(["number"], [])

    assert redis.client().get("number") == b"1"


def test_run_gives_up_a_connection_whose_reply_came_too_late(own_redis):
    """The reply of a request that timed out must not become the reply of the next one."""
    ECHO.run([], ["a"])
    redis.client().execute_command("CLIENT", "PAUSE", 500, "ALL")
    with pytest.raises(redis.RedisUnavailable):
        ECHO.run([], ["late"])
    redis.close_breaker()

    for _ in range(20):
        try:
            assert ECHO.run([], ["next"]) == b"next"
            break
        except redis.RedisUnavailable:
            redis.close_breaker()
    else:
        pytest.fail("Redis did not answer again")


def test_replies_reach_the_thread_that_asked():
    wrong = []

    def ask(number):
        for count in range(200):
            text = f"{number}-{count}"
            if ECHO.run([], [text]) != text.encode():
                wrong.append(text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
