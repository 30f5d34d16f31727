"""Sign-up and sign-in by password, as a front end does them."""

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


def test_register_answers_201_with_user_access_and_cookie():
    client = Client()

    answer = post_auth(
        client, "register", {"email": " New@Example.COM ", "password": PASSWORD, "name": "New", "age": 30}
    )

    body = answer.json()
    assert (answer.status_code, sorted(body)) == (201, ["access", "expires_in", "user"])
    assert (body["user"]["email"], body["user"]["roles"], body["user"]["age"], body["expires_in"]) == (
        "new@example.com",
        ["user"],
        30,
        900,
    )
    cookie = answer.cookies["refresh"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True,
        "Strict",
        "/",
        "",
    )
    assert answer["Cache-Control"] == "no-store"
    assert PASSWORD not in answer.content.decode()
    assert cookie.value not in answer.content.decode()
    me = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {body['access']}"})
    assert (me.status_code, me.json()["email"]) == (200, "new@example.com")


def test_register_stores_argon2id_at_the_declared_cost():
    post_auth(Client(), "register", {"email": "a@example.com", "password": PASSWORD})

    stored = User.objects.get(email="a@example.com").password
    assert stored.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize("again", ["taken@example.com", "TAKEN@example.com", "ＴＡＫＥＮ@example.com"])
def test_register_refuses_an_address_that_is_taken_in_any_spelling(again):
    UserFactory(email="taken@example.com")

    answer = post_auth(Client(), "register", {"email": again, "password": PASSWORD})

    assert (answer.status_code, answer.json().get("code")) in {(409, "email_taken"), (400, "invalid")}
    assert User.objects.count() == 1


@pytest.mark.commits
def test_parallel_registration_of_one_address_makes_one_account():
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
        ({"age": 10**30}, "/age"),
        ({"age": "x"}, "/age"),
        ({"name": "x" * 121}, "/name"),
        ({"is_active": True}, "/is_active"),
        ({"roles": ["admin"]}, "/roles"),
        ({"a/b~c": 1}, "/a~1b~0c"),
    ],
)
def test_register_points_at_what_is_wrong_and_makes_nothing(change, pointer):
    answer = post_auth(Client(), "register", {"email": "a@example.com", "password": PASSWORD, **change})

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert User.objects.count() == 0


def test_login_signs_in_and_a_wrong_password_or_unknown_or_disabled_user_look_the_same(member, password_hash):
    UserFactory(email="off@example.com", password=password_hash, is_active=False)

    good = post_auth(Client(), "login", {"email": "Member@example.com", "password": PASSWORD})
    refused = [
        post_auth(Client(), "login", {"email": email, "password": password})
        for email, password in [
            ("member@example.com", "wrong password"),
            ("nobody@example.com", PASSWORD),
            ("off@example.com", PASSWORD),
        ]
    ]

    assert (good.status_code, good.json()["user"]["id"]) == (200, str(member.pk))
    assert {(answer.status_code, answer.content) for answer in refused} == {(401, refused[0].content)}
    assert refused[0].json()["code"] == "invalid_credentials"


def test_login_hashes_once_for_anybody(member, monkeypatch):
    import argon2

    hashes = []
    genuine = argon2.PasswordHasher.verify
    monkeypatch.setattr(
        argon2.PasswordHasher, "verify", lambda self, *given: hashes.append(1) or genuine(self, *given)
    )
    for email in ("member@example.com", "nobody@example.com"):
        post_auth(Client(), "login", {"email": email, "password": "wrong password"})

    assert len(hashes) == 2


def test_login_ignores_an_old_authorization_header(member):
    answer = post_auth(
        Client(),
        "login",
        {"email": "member@example.com", "password": PASSWORD},
        Authorization="Bearer rubbish",
    )

    assert answer.status_code == 200


def test_config_tells_a_front_end_what_it_needs():
    answer = Client().get("/api/v1/config")

    assert answer.json() == {
        "version": settings.VERSION,
        "email_verification": "optional",
        "sign_in_providers": ["password", "passkey"],
        "oidc_providers": [],
        "sites_domain": "localhost",
        "password": {"min_length": 8, "max_bytes": 1024},
        "limits": {"requests_per_minute": 100_000, "body_bytes": 65536, "blueprint_bytes": 10485760},
    }


def test_no_more_hashes_run_at_once_than_declared(member, monkeypatch):
    import argon2

    running = 0
    most = 0
    lock = threading.Lock()
    genuine = argon2.PasswordHasher.verify

    def counted(self, *given):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return genuine(self, *given)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)

    def check(_):
        with contextlib.suppress(HashingBusy):
            return check_password("wrong password", member.password)

    with ThreadPoolExecutor(settings.HASH_CONCURRENCY * 4) as pool:
        list(pool.map(check, range(settings.HASH_CONCURRENCY * 8)))

    assert most == settings.HASH_CONCURRENCY
