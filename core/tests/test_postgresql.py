"""The deadlines of the database connections of web processes."""

import time

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from core.storage.circuit_breaker import CircuitBreaker
from core.storage.postgresql import deadlines
from core.storage.postgresql.deadlines import NoAnswer, WebConnection, reset_connection


@pytest.fixture
def web_connection(db):
    parameters = connection.get_connection_params()
    parameters = {name: parameters[name] for name in ("user", "password", "host", "port")}
    # Not the database of the tests, which could not be dropped while an abandoned statement runs in it.
    opened = WebConnection.connect(**parameters, dbname="postgres", autocommit=True)
    yield opened
    opened.close()


def test_web_connection_abandons_a_statement_that_the_server_does_not_end(web_connection, monkeypatch):
    monkeypatch.setattr(deadlines, "GRACE_SECONDS", 0.1)
    web_connection.statement_seconds = 0.1
    started = time.monotonic()

    with pytest.raises(NoAnswer):
        web_connection.execute("SELECT pg_sleep(20)")

    assert time.monotonic() - started < 5
    assert web_connection.closed  # a late answer must not be read as that of another statement


def test_web_connection_must_answer_fast_right_after_it_was_in_the_pool(web_connection, monkeypatch):
    monkeypatch.setattr(deadlines, "CHECK_SECONDS", 0.2)
    reset_connection(web_connection)
    assert not web_connection.is_checked
    web_connection.execute("SELECT 1")
    assert web_connection.is_checked

    reset_connection(web_connection)
    with pytest.raises(NoAnswer):
        web_connection.execute("SELECT pg_sleep(20)")


def test_a_connection_that_was_just_in_use_needs_no_question_to_the_server(web_connection, monkeypatch):
    assert not web_connection.answered_a_moment_ago()  # a new one has answered nothing yet

    reset_connection(web_connection)
    assert web_connection.answered_a_moment_ago()

    reset_connection(web_connection)
    monkeypatch.setattr(deadlines, "UNCHECKED_SECONDS", 0.01)
    time.sleep(0.02)
    assert not web_connection.answered_a_moment_ago()
    assert not web_connection.is_checked  # so that the first answer must come fast


def test_a_connection_that_the_server_has_closed_is_not_used_however_fresh_it_is(web_connection):
    reset_connection(web_connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [web_connection.info.backend_pid])
        assert cursor.fetchone() == (True,)

    assert not web_connection.answered_a_moment_ago()


def test_reset_connection_restores_the_statement_timeout(web_connection):
    default = web_connection.execute("SHOW statement_timeout").fetchone()
    web_connection.execute("SET statement_timeout = '15s'")
    web_connection.statement_seconds = 15.0

    reset_connection(web_connection)

    assert web_connection.execute("SHOW statement_timeout").fetchone() == default
    assert web_connection.statement_seconds == deadlines.WEB_STATEMENT_SECONDS


def test_database_options_close_a_connection_whose_peer_has_vanished():
    options = settings.DATABASES["default"]["OPTIONS"]

    assert options["tcp_user_timeout"] == 10_000
    assert options["keepalives_idle"] + options["keepalives_count"] * options["keepalives_interval"] <= 30
    assert psycopg.conninfo.make_conninfo(tcp_user_timeout=10_000)  # libpq knows it


def test_circuit_breaker_lets_one_caller_try_after_its_pause():
    breaker = CircuitBreaker(0.05, trial_seconds=10)
    assert [breaker.allows_attempt() for _ in range(3)] == [True] * 3
    breaker.open()
    assert (breaker.is_open, breaker.allows_attempt()) == (True, False)
    time.sleep(0.06)

    assert [breaker.allows_attempt() for _ in range(3)] == [True, False, False]
    breaker.close()
    assert [breaker.allows_attempt() for _ in range(3)] == [True] * 3
