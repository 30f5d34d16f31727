"""Admission: access tokens, revocation, and what happens when Redis cannot tell."""

import time
from datetime import timedelta

import jwt
import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.credentials import revocation
from accounts.credentials.tokens import PlatformAccessToken, make_refresh_token
from accounts.models import Session, User
from accounts.services import roles, sessions, users
from accounts.tests.factories import UserFactory
from audit.actors import SYSTEM
from conftest import sign_in
from core.http.preconditions import ANY_VERSION
from core.storage import redis

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("either_path")]


def get_me(access_token):
    return Client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access_token}"})


def forge(access_token, *, key=None, algorithm="HS256", header=None, **claims):
    """Return the token with other claims or header, signed with `key`. A claim of None is removed."""
    payload = {**jwt.decode(access_token, options={"verify_signature": False}), **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    kid, genuine_key = settings.JWT_KEYS[0].split(":")
    return jwt.encode(
        payload,
        genuine_key if key is None else key,
        algorithm=algorithm,
        headers={"kid": kid, **(header or {})},
    )


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({}, None),
        ({"exp": 1_000_000_000}, "token_expired"),
        ({"exp": None}, "token_invalid"),
        ({"iss": "https://evil.example"}, "token_invalid"),
        ({"iss": None}, "token_invalid"),
        ({"aud": "https://evil.example"}, "token_invalid"),
        ({"aud": None}, "token_invalid"),
        ({"sub": "x"}, "token_invalid"),
        ({"sid": None}, "token_invalid"),
        ({"epoch": None}, "token_invalid"),
        ({"roles": None}, "token_invalid"),
        ({"token_type": "refresh"}, "token_invalid"),
        ({"iat": 99_999_999_999}, "token_invalid"),
        ({"header": {"kid": "unknown"}}, "token_invalid"),
        ({"header": {"jku": "https://evil.example"}}, "token_invalid"),
        ({"header": {"jwk": {"kty": "oct", "k": "AA"}}}, "token_invalid"),
        ({"header": {"crit": ["x"], "x": 1}}, "token_invalid"),
        ({"key": "k" * 64}, "token_invalid"),
        ({"key": "k" * 64, "algorithm": "HS512"}, "token_invalid"),
        ({"key": "", "algorithm": "none"}, "token_invalid"),
    ],
)
def test_admission_refuses_forged_and_expired_tokens(api, change, code):
    response = get_me(forge(api.access, **change))

    assert (response.status_code, response.json().get("code")) == ((401, code) if code else (200, None))


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic eDp5",
        "Token x",
        "bearer " + "a" * 5000,
        "Bearer a.b.c",
        "Bearer \u00e9",
    ],
)
def test_admission_answers_401_to_a_bad_credential_on_a_public_route(header):
    response = Client().get("/api/v1/config", headers={"Authorization": header})

    assert (response.status_code, response["Content-Type"], "WWW-Authenticate" in response) == (
        401,
        "application/problem+json",
        True,
    )


def test_sites_answers_401_without_a_credential():
    response = Client().get("/api/v1/sites")

    assert (response.status_code, response.json()["code"], response["WWW-Authenticate"]) == (
        401,
        "not_authenticated",
        'Bearer realm="api"',
    )


def test_admission_refuses_a_refresh_token(api):
    assert get_me(make_refresh_token(api.session.pk, 1)).json()["code"] == "token_invalid"


@pytest.mark.parametrize(
    "change",
    [
        lambda api: Session.objects.filter(pk=api.session.pk).update(revoked_at=timezone.now()),
        lambda api: User.objects.filter(pk=api.user.pk).update(epoch=1),
        lambda api: User.objects.filter(pk=api.user.pk).update(is_active=False),
        lambda api: User.objects.filter(pk=api.user.pk).update(deleted_at=timezone.now()),
    ],
    ids=["session", "epoch", "disabled", "deleted"],
)
def test_admission_asks_the_database_when_redis_lost_its_tombstones(api, change):
    change(api)
    redis.client().flushdb()

    response = api.get("sites")

    assert (response.status_code, response.json().get("code")) == (401, "token_revoked")


def test_admission_refuses_a_verified_token_once_it_expires(api):
    leeway = settings.SIMPLE_JWT["LEEWAY"].total_seconds()
    token = forge(api.access, exp=int(time.time() - leeway) + 2)
    assert [get_me(token).status_code for _ in range(2)] == [200, 200]

    time.sleep(2.1)

    assert get_me(token).json()["code"] == "token_expired"


@pytest.mark.parametrize(
    "change",
    [
        lambda user: users.set_active(user.pk, False, actor=SYSTEM, now=timezone.now()),
        lambda user: roles.set_roles(user.pk, {"admin"}, actor=SYSTEM, now=timezone.now()),
        lambda user: users.set_password(user.pk, "another long password", actor=SYSTEM, now=timezone.now()),
        lambda user: sessions.close_all_sessions(user.pk, actor=SYSTEM, now=timezone.now()),
        lambda user: users.delete_user(user.pk, actor=SYSTEM, now=timezone.now(), if_match=ANY_VERSION),
    ],
    ids=["disabled", "roles", "password", "signed-out", "deleted"],
)
def test_admission_refuses_the_next_request_after_a_revocation(api, change, django_assert_num_queries):
    assert get_me(api.access).status_code == 200

    change(api.user)

    with django_assert_num_queries(0):
        response = get_me(api.access)
    assert (response.status_code, response.json()["code"]) == (401, "token_revoked")


def test_admission_makes_one_redis_call(own_redis):
    api = sign_in(UserFactory())
    redis.client().ping()  # a connection made later would be a reason to verify the tombstones
    get_me(api.access)
    commands_before = redis.client().info("stats")["total_commands_processed"]

    api.get("config")

    commands = redis.client().info("stats")["total_commands_processed"] - commands_before - 1
    # Commands that a script runs count too: TIME, GET and SET of the limit, MGET of the revocation, and
    # EVALSHA itself.
    assert commands == 5


def test_admission_restores_the_tombstones_of_an_empty_redis(api, other, django_assert_num_queries):
    sessions.close_all_sessions(api.user.pk, actor=SYSTEM, now=timezone.now())
    redis.client().flushdb()

    assert get_me(api.access).status_code == 401
    assert get_me(other.access).status_code == 200
    keys = [revocation.COMPLETE_KEY, f"revoked:{api.session.pk}", f"epoch:{api.user.pk}"]
    assert redis.client().exists(*keys) == 3
    with django_assert_num_queries(0):
        assert get_me(api.access).status_code == 401


def test_admission_uses_the_database_and_a_local_limit_without_redis(own_redis, settings):
    settings.RATE_LIMIT = 5
    valid = sign_in(UserFactory())
    revoked = sign_in(UserFactory())
    own_redis.stop()
    sessions.close_all_sessions(revoked.user.pk, actor=SYSTEM, now=timezone.now())

    started = time.monotonic()
    statuses = [valid.get("auth/me").status_code for _ in range(7)]

    assert (statuses, get_me(revoked.access).status_code) == ([200] * 5 + [429] * 2, 401)
    assert time.monotonic() - started < 5


def test_close_all_sessions_writes_tombstones_that_outlive_every_token(api):
    sessions.close_all_sessions(api.user.pk, actor=SYSTEM, now=timezone.now())

    lifetimes = [redis.client().ttl(key) for key in (f"revoked:{api.session.pk}", f"epoch:{api.user.pk}")]

    longest = PlatformAccessToken.lifetime + settings.SIMPLE_JWT["LEEWAY"]
    assert all(longest.total_seconds() < seconds <= revocation.TOMBSTONE_SECONDS for seconds in lifetimes)


def test_sweep_writes_no_tombstone_that_no_token_can_outlive(api):
    past = timezone.now() - revocation.TOMBSTONE_LIFETIME - timedelta(seconds=1)
    Session.objects.filter(pk=api.session.pk).update(revoked_at=past)
    User.objects.filter(pk=api.user.pk).update(epoch=1, epoch_raised_at=past)

    assert revocation.mirror_missing_tombstones(now=timezone.now()) == 0


def test_sweep_writes_the_tombstones_that_redis_did_not_take(own_redis, restart_redis):
    api = sign_in(UserFactory())
    own_redis.stop()
    sessions.close_all_sessions(api.user.pk, actor=SYSTEM, now=timezone.now())
    assert Session.objects.get(pk=api.session.pk).mirrored_at is None
    assert User.objects.get(pk=api.user.pk).epoch_mirrored_at is None

    restart_redis()

    assert revocation.mirror_missing_tombstones(now=timezone.now()) == 2
    assert redis.client().exists(f"revoked:{api.session.pk}", f"epoch:{api.user.pk}") == 2
    assert revocation.mirror_missing_tombstones(now=timezone.now()) == 0
