"""Delays between attempts at a secret."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.credentials import throttling
from accounts.credentials.throttling import Bucket, TooManyAttempts
from accounts.tests.helpers import post_auth
from audit.models import Entry
from conftest import PASSWORD
from core.storage import redis

pytestmark = pytest.mark.django_db


def login(client, email, password="wrong password"):
    return post_auth(client, "login", {"email": email, "password": password})


@pytest.fixture
def hashes(monkeypatch):
    """List with one item per verified password, by a hasher that refuses at once."""
    import argon2

    count = []

    def verify(self, *args):
        count.append(1)
        raise argon2.exceptions.VerifyMismatchError

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)
    return count


class CountingLimiter:
    """Wraps the local rate limiter and counts what it allows. An attempt asks it for two buckets."""

    def __init__(self, buckets):
        self.buckets = buckets
        self.results = []

    def take(self, *args, **kwargs):
        self.results.append(self.buckets.take(*args, **kwargs))
        return self.results[-1]

    @property
    def allowed(self):
        return sum(item.allowed for item in self.results) // 2


@pytest.mark.parametrize("email", ["member@example.com", "nobody@example.com"])
@pytest.mark.commits
def test_reserve_attempt_lets_five_of_two_hundred_parallel_attempts_through(
    member, hashes, email, monkeypatch
):
    # On a very busy machine Redis may not answer in time, so that the local limiter takes over, and
    # PostgreSQL may cause a 503.
    local_limiter = CountingLimiter(throttling._local)
    monkeypatch.setattr(throttling, "_local", local_limiter)

    def attempt_in_thread(_):
        try:
            return login(Client(), email)
        finally:
            connections.close_all()

    started_at = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        responses = list(pool.map(attempt_in_thread, range(200)))

    elapsed_delays = sum(
        time.monotonic() - started_at >= end for end in (2, 6, 14, 30, 62)
    )  # delays of 2, 4, 8 ... that have elapsed
    refused, busy = (
        [response for response in responses if response.status_code == status] for status in (429, 503)
    )
    assert 5 - len(busy) <= len(hashes) <= 5 + elapsed_delays + local_limiter.allowed
    assert (
        0 <= len(refused) + len(busy) + len(hashes) - 200 <= len(busy)
    )  # an attempt may be hashed before its 503
    assert sum(response.status_code == 401 for response in responses) + len(busy) + len(refused) == 200
    assert {response.json()["code"] for response in refused} == {"too_many_attempts"}
    assert all(int(response["Retry-After"]) >= 1 for response in refused)


def test_login_delays_the_right_password_and_not_the_owner_elsewhere(member, hashes, monkeypatch):
    for _ in range(5):
        login(Client(REMOTE_ADDR="198.51.100.1"), member.email)
    monkeypatch.undo()

    assert login(Client(REMOTE_ADDR="198.51.100.1"), member.email, PASSWORD).status_code == 429
    assert login(Client(REMOTE_ADDR="203.0.113.1"), member.email, PASSWORD).status_code == 200


def test_login_does_not_delay_a_known_device(member):
    owner = Client()
    login(owner, member.email, PASSWORD)
    for _ in range(8):
        login(Client(), member.email)

    assert login(Client(), member.email, PASSWORD).status_code == 429
    assert login(owner, member.email, PASSWORD).status_code == 200


def test_login_delays_a_stolen_device_cookie(member):
    owner = Client()
    login(owner, member.email, PASSWORD)

    statuses = [login(owner, member.email).status_code for _ in range(12)]

    assert statuses == [401] * 10 + [429] * 2


def test_reserve_attempt_doubles_delays_and_release_attempt_clears_them():
    account_bucket = Bucket("own", free_attempts=2, max_delay_seconds=900)
    network_bucket = Bucket("shared", free_attempts=50, max_delay_seconds=10, per_account=False)
    for _ in range(2):
        throttling.reserve_attempt([account_bucket, network_bucket])
    with pytest.raises(TooManyAttempts) as first:
        throttling.reserve_attempt([account_bucket, network_bucket])
    assert first.value.headers == {"Retry-After": "2"}
    time.sleep(2.05)
    throttling.reserve_attempt([account_bucket, network_bucket])
    with pytest.raises(TooManyAttempts) as second:
        throttling.reserve_attempt([account_bucket, network_bucket])
    assert second.value.headers == {"Retry-After": "4"}

    throttling.release_attempt([account_bucket, network_bucket], succeeded=True)

    assert redis.client().exists("attempts:own") == 0
    assert redis.client().hget("attempts:shared", "tries") == b"2"


def test_reserve_attempt_does_not_count_refused_attempts():
    account_bucket = Bucket("own", free_attempts=1, max_delay_seconds=900)
    network_bucket = Bucket("shared", free_attempts=50, max_delay_seconds=10, per_account=False)
    throttling.reserve_attempt([account_bucket, network_bucket])
    for _ in range(20):
        with pytest.raises(TooManyAttempts):
            throttling.reserve_attempt([account_bucket, network_bucket])

    assert [redis.client().hget(f"attempts:{name}", "tries") for name in ("own", "shared")] == [b"1", b"1"]


def test_login_delays_an_address_that_tries_many_accounts(hashes):
    statuses = [login(Client(), f"person{number}@example.com").status_code for number in range(40)]

    assert statuses == [401] * 30 + [429] * 10


def test_reserve_attempt_counts_locally_without_redis(monkeypatch):
    monkeypatch.setattr(redis, "call", lambda act: (_ for _ in ()).throw(redis.RedisUnavailable))
    bucket = Bucket("without-redis", free_attempts=3, max_delay_seconds=900)
    for _ in range(3):
        throttling.reserve_attempt([bucket])

    with pytest.raises(TooManyAttempts):
        throttling.reserve_attempt([bucket])
    throttling.release_attempt([bucket], succeeded=True)  # raises no error


def test_login_records_failed_but_not_delayed_attempts(member, hashes):
    for _ in range(9):
        login(Client(), member.email)

    assert Entry.objects.filter(event="sign_in.failed", owner_id=member.pk).count() == 5
