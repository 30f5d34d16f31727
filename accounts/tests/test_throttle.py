"""Guessing gets slower and slower, and nobody can lock somebody else out."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.credentials import throttling
from accounts.credentials.throttling import Bucket, TooManyAttempts
from accounts.models import User
from accounts.tests.helpers import post_auth
from audit.models import Entry
from conftest import PASSWORD
from core.storage import redis

pytestmark = pytest.mark.django_db


def login(client, email, password="wrong password"):
    return post_auth(client, "login", {"email": email, "password": password})


@pytest.fixture
def hashes(monkeypatch):
    """How often a password was hashed, by a hasher that says no at once."""
    import argon2

    count = []

    def verify(self, *given):
        count.append(1)
        raise argon2.exceptions.VerifyMismatchError

    monkeypatch.setattr(argon2.PasswordHasher, "verify", verify)
    return count


class Counted:
    """Buckets that count what they let through; an attempt asks two of them."""

    def __init__(self, buckets):
        self.buckets = buckets
        self.taken = []

    def take(self, *given, **options):
        self.taken.append(self.buckets.take(*given, **options))
        return self.taken[-1]

    @property
    def allowed(self):
        return sum(item.allowed for item in self.taken) // 2


@pytest.mark.parametrize("email", ["member@example.com", "nobody@example.com"])
@pytest.mark.commits
def test_of_two_hundred_parallel_wrong_passwords_five_reach_the_hasher(member, hashes, email, monkeypatch):
    # What stands in while Redis does not answer in time, as on a machine that is very busy. PostgreSQL may
    # say 503 there.
    alone = Counted(throttling._local)
    monkeypatch.setattr(throttling, "_local", alone)

    def attack(_):
        try:
            return login(Client(), email)
        finally:
            connections.close_all()

    begun = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(attack, range(200)))

    waited = sum(
        time.monotonic() - begun >= end for end in (2, 6, 14, 30, 62)
    )  # delays of 2, 4, 8 ... that are over
    refused, busy = ([answer for answer in answers if answer.status_code == status] for status in (429, 503))
    assert 5 - len(busy) <= len(hashes) <= 5 + waited + alone.allowed
    assert (
        0 <= len(refused) + len(busy) + len(hashes) - 200 <= len(busy)
    )  # who hears 503 may have been hashed before it
    assert sum(answer.status_code == 401 for answer in answers) + len(busy) + len(refused) == 200
    assert {answer.json()["code"] for answer in refused} == {"too_many_attempts"}
    assert all(int(answer["Retry-After"]) >= 1 for answer in refused)


def test_the_right_password_waits_like_a_wrong_one_and_the_owner_elsewhere_does_not(
    member, hashes, monkeypatch
):
    for _ in range(5):
        login(Client(REMOTE_ADDR="198.51.100.1"), member.email)
    monkeypatch.undo()

    assert login(Client(REMOTE_ADDR="198.51.100.1"), member.email, PASSWORD).status_code == 429
    assert login(Client(REMOTE_ADDR="203.0.113.1"), member.email, PASSWORD).status_code == 200


def test_a_known_device_gets_in_while_others_at_the_same_address_are_slowed_down(member):
    owner = Client()
    login(owner, member.email, PASSWORD)
    for _ in range(8):
        login(Client(), member.email)

    assert login(Client(), member.email, PASSWORD).status_code == 429
    assert login(owner, member.email, PASSWORD).status_code == 200


def test_a_stolen_device_cookie_is_slowed_down_too(member):
    owner = Client()
    login(owner, member.email, PASSWORD)

    statuses = [login(owner, member.email).status_code for _ in range(12)]

    assert statuses == [401] * 10 + [429] * 2


def test_a_device_cookie_is_good_for_its_user_and_its_password_only(member, password_hash):
    from accounts.credentials import known_devices
    from accounts.credentials.known_devices import Device

    other = User(pk=member.pk, password="changed")
    cookie = known_devices.make_device_cookie(member, Device())

    assert known_devices.find_device_nonce(member, Device(cookie=cookie))
    assert not known_devices.find_device_nonce(other, Device(cookie=cookie))
    for rubbish in ("", "~~~~~~~~", "a.b~" * 500, cookie[:-1], cookie.replace(".", ""), "é.é", "x" * 5000):
        assert not known_devices.find_device_nonce(member, Device(cookie=rubbish))


def test_one_browser_knows_five_people(member):
    from accounts.credentials import known_devices
    from accounts.credentials.known_devices import Device

    people = [User(password=f"p{number}") for number in range(7)]
    cookie = ""
    for person in people:
        cookie = known_devices.make_device_cookie(person, Device(cookie=cookie))

    assert [bool(known_devices.find_device_nonce(person, Device(cookie=cookie))) for person in people] == [
        False
    ] * 2 + [True] * 5
    assert len(cookie) < 600


def test_delays_grow_and_a_right_answer_starts_afresh():
    own = Bucket("own", free=2, longest=900)
    shared = Bucket("shared", free=50, longest=10, own=False)
    for _ in range(2):
        throttling.reserve_attempt([own, shared])
    with pytest.raises(TooManyAttempts) as first:
        throttling.reserve_attempt([own, shared])
    assert first.value.headers == {"Retry-After": "2"}
    time.sleep(2.05)
    throttling.reserve_attempt([own, shared])
    with pytest.raises(TooManyAttempts) as second:
        throttling.reserve_attempt([own, shared])
    assert second.value.headers == {"Retry-After": "4"}

    throttling.release_attempt([own, shared], proved=True)

    assert redis.client().exists("attempts:own") == 0
    assert redis.client().hget("attempts:shared", "tries") == b"2"


def test_refused_attempts_count_nowhere():
    own = Bucket("own", free=1, longest=900)
    shared = Bucket("shared", free=50, longest=10, own=False)
    throttling.reserve_attempt([own, shared])
    for _ in range(20):
        with pytest.raises(TooManyAttempts):
            throttling.reserve_attempt([own, shared])

    assert [redis.client().hget(f"attempts:{name}", "tries") for name in ("own", "shared")] == [b"1", b"1"]


def test_one_address_that_tries_many_accounts_is_slowed_down(hashes):
    statuses = [login(Client(), f"person{number}@example.com").status_code for number in range(40)]

    assert statuses == [401] * 30 + [429] * 10


def test_without_redis_a_process_still_counts(monkeypatch):
    monkeypatch.setattr(redis, "call", lambda act: (_ for _ in ()).throw(redis.RedisUnavailable))
    bucket = Bucket("without-redis", free=3, longest=900)
    for _ in range(3):
        throttling.reserve_attempt([bucket])

    with pytest.raises(TooManyAttempts):
        throttling.reserve_attempt([bucket])
    throttling.release_attempt([bucket], proved=True)  # nothing to give back to, and no error


def test_failures_are_recorded_and_waiting_ones_are_not(member, hashes):
    for _ in range(9):
        login(Client(), member.email)

    assert Entry.objects.filter(event="sign_in.failed", owner_id=member.pk).count() == 5
