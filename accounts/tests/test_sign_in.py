"""Sign-up and sign-in by password."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.db import connections
from django.test import Client

from accounts.credentials.hashing import HashingBusy
from accounts.models import User
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import post_auth
from conftest import PASSWORD

pytestmark = pytest.mark.django_db


def test_register_returns_201_with_user_access_and_cookie():
    client = Client()

    response = post_auth(
        client, "register", {"email": " New@Example.COM ", "password": PASSWORD, "name": "New", "age": 30}
    )

    body = response.json()
    assert (response.status_code, sorted(body)) == (201, ["access", "expires_in", "user"])
    assert (body["user"]["email"], body["user"]["roles"], body["user"]["age"], body["expires_in"]) == (
        "new@example.com",
        ["user"],
        30,
        900,
    )
    cookie = response.cookies["refresh"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True,
        "Strict",
        "/",
        "",
    )
    assert response["Cache-Control"] == "no-store"
    assert PASSWORD not in response.content.decode()
    assert cookie.value not in response.content.decode()
    me = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {body['access']}"})
    assert (me.status_code, me.json()["email"]) == (200, "new@example.com")


def test_register_stores_argon2id_at_the_configured_cost():
    post_auth(Client(), "register", {"email": "a@example.com", "password": PASSWORD})

    password_hash = User.objects.get(email="a@example.com").password
    assert password_hash.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize("again", ["taken@example.com", "TAKEN@example.com", "ＴＡＫＥＮ@example.com"])
def test_register_refuses_a_taken_address_in_any_spelling(again):
    UserFactory(email="taken@example.com")

    response = post_auth(Client(), "register", {"email": again, "password": PASSWORD})

    assert (response.status_code, response.json().get("code")) in {(409, "email_taken"), (400, "invalid")}
    assert User.objects.count() == 1


@pytest.mark.commits
def test_register_user_in_parallel_creates_one_account():
    def register(_):
        try:
            return post_auth(
                Client(), "register", {"email": "race@example.com", "password": PASSWORD}
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        statuses = sorted(pool.map(register, range(4)))

    assert statuses == [201, 409, 409, 409]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"email": "nonsense"}, "/email"),
        ({"email": None}, "/email"),
        ({"email": ["a@example.com"]}, "/email"),
        ({"password": "short"}, "/password"),
        ({"password": "password1"}, "/password"),
        ({"password": "x" * 1025}, "/password"),
        ({"password": "é" * 600}, "/password"),
        ({"age": -1}, "/age"),
        ({"age": 10**15}, "/age"),
        ({"age": "x"}, "/age"),
        ({"name": "x" * 121}, "/name"),
        ({"is_active": True}, "/is_active"),
        ({"roles": ["admin"]}, "/roles"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_register_points_at_invalid_fields(change, pointer):
    response = post_auth(Client(), "register", {"email": "a@example.com", "password": PASSWORD, **change})

    assert (response.status_code, response["Content-Type"]) == (400, "application/problem+json")
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]
    assert User.objects.count() == 0


def test_login_answers_alike_for_a_wrong_password_and_unknown_or_disabled_users(member, password_hash):
    UserFactory(email="off@example.com", password=password_hash, is_active=False)

    accepted = post_auth(Client(), "login", {"email": "Member@example.com", "password": PASSWORD})
    refused = [
        post_auth(Client(), "login", {"email": email, "password": password})
        for email, password in [
            ("member@example.com", "wrong password"),
            ("nobody@example.com", PASSWORD),
            ("off@example.com", PASSWORD),
        ]
    ]

    assert (accepted.status_code, accepted.json()["user"]["id"]) == (200, str(member.pk))
    assert {(response.status_code, response.content) for response in refused} == {(401, refused[0].content)}
    assert refused[0].json()["code"] == "invalid_credentials"


def test_check_credentials_hashes_once_with_and_without_an_account(member, monkeypatch):
    import argon2

    hashes = []
    original_verify = argon2.PasswordHasher.verify
    monkeypatch.setattr(
        argon2.PasswordHasher, "verify", lambda self, *args: hashes.append(1) or original_verify(self, *args)
    )
    for email in ("member@example.com", "nobody@example.com"):
        post_auth(Client(), "login", {"email": email, "password": "wrong password"})

    assert len(hashes) == 2


def test_login_ignores_the_authorization_header(member):
    response = post_auth(
        Client(),
        "login",
        {"email": "member@example.com", "password": PASSWORD},
        Authorization="Bearer rubbish",
    )

    assert response.status_code == 200


def test_config_returns_the_settings_for_a_front_end():
    response = Client().get("/api/v1/config")

    assert response.json() == {
        "version": settings.VERSION,
        "email_verification": "optional",
        "sign_in_providers": ["password", "passkey"],
        "oidc_providers": [],
        "sites_domain": "localhost",
        "password": {"min_length": 8, "max_bytes": 1024},
        "limits": {"requests_per_minute": 100_000, "body_bytes": 65536, "blueprint_bytes": 10485760},
    }


def test_argon2hasher_limits_parallel_hashes(member, monkeypatch):
    import argon2

    running = 0
    peak = 0
    lock = threading.Lock()
    original_verify = argon2.PasswordHasher.verify

    def counting_verify(self, *args):
        nonlocal running, peak
        with lock:
            running += 1
            peak = max(peak, running)
        try:
            return original_verify(self, *args)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counting_verify)

    def check_in_thread(_):
        with contextlib.suppress(HashingBusy):
            return check_password("wrong password", member.password)

    with ThreadPoolExecutor(settings.HASH_CONCURRENCY * 4) as pool:
        list(pool.map(check_in_thread, range(settings.HASH_CONCURRENCY * 8)))

    assert peak == settings.HASH_CONCURRENCY
