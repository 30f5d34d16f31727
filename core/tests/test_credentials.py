"""Credentials at the gate: forged, stale, revoked, refused."""

import time
from datetime import timedelta

import jwt
import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from accounts.credentials import revocation
from accounts.credentials.tokens import PlatformAccessToken
from accounts.models import Session, User
from accounts.services import sessions
from audit.actors import SYSTEM
from core.storage import redis

pytestmark = pytest.mark.django_db


def me(access):
    return Client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access}"})


def forge(access, *, key=None, algorithm="HS256", header=None, **claims):
    """The token of `access` with other claims or header, signed with `key`."""
    payload = {**jwt.decode(access, options={"verify_signature": False}), **claims}
    payload = {name: value for name, value in payload.items() if value is not None}
    kid, genuine = settings.JWT_KEYS[0].split(":")
    return jwt.encode(
        payload, genuine if key is None else key, algorithm=algorithm, headers={"kid": kid, **(header or {})}
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
def test_forged_and_stale_tokens_are_refused(api, change, code):
    answer = me(forge(api.access, **change))

    assert (answer.status_code, answer.json().get("code")) == ((401, code) if code else (200, None))


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
def test_a_bad_credential_is_401_also_where_none_is_needed(header):
    answer = Client().get("/api/v1/config", headers={"Authorization": header})

    assert (answer.status_code, answer["Content-Type"], "WWW-Authenticate" in answer) == (
        401,
        "application/problem+json",
        True,
    )


def test_no_credential_is_401_where_one_is_needed(db):
    answer = Client().get("/api/v1/sites")

    assert (answer.status_code, answer.json()["code"], answer["WWW-Authenticate"]) == (
        401,
        "not_authenticated",
        'Bearer realm="api"',
    )


def test_a_refresh_token_is_no_access_token(api):
    from accounts.credentials.tokens import make_refresh_token

    assert me(make_refresh_token(api.session.pk, 1)).json()["code"] == "token_invalid"


@pytest.mark.parametrize(
    "act",
    [
        lambda api: Session.objects.filter(pk=api.session.pk).update(revoked_at=timezone.now()),
        lambda api: User.objects.filter(pk=api.user.pk).update(epoch=1),
        lambda api: User.objects.filter(pk=api.user.pk).update(is_active=False),
        lambda api: User.objects.filter(pk=api.user.pk).update(deleted_at=timezone.now()),
    ],
    ids=["session", "epoch", "disabled", "hidden"],
)
def test_each_reason_to_refuse_is_found_in_the_database_when_redis_cannot_say(api, act):
    act(api)
    redis.client().flushdb()

    answer = api.get("sites")

    assert (answer.status_code, answer.json().get("code")) == (401, "token_revoked")


def test_a_token_read_before_is_refused_once_it_has_expired(api):
    leeway = settings.SIMPLE_JWT["LEEWAY"].total_seconds()
    token = forge(api.access, exp=int(time.time() - leeway) + 2)
    assert [me(token).status_code for _ in range(2)] == [200, 200]

    time.sleep(2.1)

    assert me(token).json()["code"] == "token_expired"


def test_tombstones_live_as_long_as_the_longest_token_and_no_longer(api):
    sessions.close_all_sessions(api.user.pk, actor=SYSTEM, now=timezone.now())

    kept = [redis.client().ttl(key) for key in (f"revoked:{api.session.pk}", f"epoch:{api.user.pk}")]

    longest = PlatformAccessToken.lifetime + settings.SIMPLE_JWT["LEEWAY"]
    assert all(longest.total_seconds() < seconds <= revocation.TOMBSTONE_SECONDS for seconds in kept)


def test_the_sweep_leaves_what_no_token_can_outlive(api):
    past = timezone.now() - revocation.TOMBSTONE_LIFETIME - timedelta(seconds=1)
    Session.objects.filter(pk=api.session.pk).update(revoked_at=past)
    User.objects.filter(pk=api.user.pk).update(epoch=1, epoch_raised_at=past)

    assert revocation.mirror_missing_tombstones(now=timezone.now()) == 0


def test_tries_with_bad_credentials_are_counted_by_network(settings):
    settings.RATE_LIMIT = 2
    stranger = Client(REMOTE_ADDR="198.51.100.10")

    statuses = [
        stranger.get("/api/v1/config", headers={"Authorization": "Bearer x"}).status_code for _ in range(4)
    ]

    assert statuses == [401, 401, 429, 429]
