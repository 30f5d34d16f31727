"""Sign-up, sign-in, refresh and sign-out, as a front end does them."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.hashing import HashingBusy
from accounts.models import Session, User
from accounts.tests.factories import UserFactory
from accounts.tokens import refresh_token
from conftest import PASSWORD, dump, sign_in
from core import redis

pytestmark = pytest.mark.django_db(transaction=True)
ORIGIN = "http://localhost:3000"
FROM_PAGE = {"X-Requested-With": "fetch", "Origin": ORIGIN}


def post(client, path, data=None, **headers):
    return client.generic(
        "POST", f"/api/v1/auth/{path}", dump(data or {}), content_type="application/json", headers=headers
    )


@pytest.fixture
def member(password_hash):
    return UserFactory(email="member@example.com", password=password_hash)


def cookie_of(session, generation=None):
    client = Client()
    client.cookies["refresh"] = refresh_token(session.pk, generation or session.generation)
    return client


def test_register_answers_201_with_user_access_and_cookie():
    client = Client()

    answer = post(client, "register", {"email": " New@Example.COM ", "password": PASSWORD, "name": "New", "age": 30})

    body = answer.json()
    assert (answer.status_code, sorted(body)) == (201, ["access", "expires_in", "user"])
    assert (body["user"]["email"], body["user"]["roles"], body["user"]["age"], body["expires_in"]) == (
        "new@example.com",
        ["user"],
        30,
        900,
    )
    cookie = answer.cookies["refresh"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Strict", "/", "")
    assert answer["Cache-Control"] == "no-store"
    assert PASSWORD not in answer.content.decode()
    assert cookie.value not in answer.content.decode()
    me = client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {body['access']}"})
    assert (me.status_code, me.json()["email"]) == (200, "new@example.com")


def test_register_stores_argon2id_at_the_declared_cost():
    post(Client(), "register", {"email": "a@example.com", "password": PASSWORD})

    stored = User.objects.get(email="a@example.com").password
    assert stored.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize("again", ["taken@example.com", "TAKEN@example.com", "ＴＡＫＥＮ@example.com"])
def test_register_refuses_an_address_that_is_taken_in_any_spelling(again):
    UserFactory(email="taken@example.com")

    answer = post(Client(), "register", {"email": again, "password": PASSWORD})

    assert (answer.status_code, answer.json().get("code")) in {(409, "email_taken"), (400, "invalid")}
    assert User.objects.count() == 1


def test_parallel_registration_of_one_address_makes_one_account():
    def register(_):
        try:
            return post(Client(), "register", {"email": "race@example.com", "password": PASSWORD}).status_code
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
    answer = post(Client(), "register", {"email": "a@example.com", "password": PASSWORD, **change})

    assert (answer.status_code, answer["Content-Type"]) == (400, "application/problem+json")
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert User.objects.count() == 0


def test_login_signs_in_and_a_wrong_password_or_unknown_or_disabled_user_look_the_same(member, password_hash):
    UserFactory(email="off@example.com", password=password_hash, is_active=False)

    good = post(Client(), "login", {"email": "Member@example.com", "password": PASSWORD})
    refused = [
        post(Client(), "login", {"email": email, "password": password})
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
    monkeypatch.setattr(argon2.PasswordHasher, "verify", lambda self, *given: hashes.append(1) or genuine(self, *given))
    for email in ("member@example.com", "nobody@example.com"):
        post(Client(), "login", {"email": email, "password": "wrong password"})

    assert len(hashes) == 2


def test_login_ignores_an_old_authorization_header(member):
    answer = post(
        Client(), "login", {"email": "member@example.com", "password": PASSWORD}, Authorization="Bearer rubbish"
    )

    assert answer.status_code == 200


def test_refresh_gives_new_tokens_and_the_old_one_the_same_successor_within_the_grace(member):
    session = sign_in(member).session
    client = cookie_of(session)

    first = post(client, "refresh", **FROM_PAGE)
    again = post(cookie_of(session, 1), "refresh", **FROM_PAGE)
    next_one = post(cookie_of(session, 2), "refresh", **FROM_PAGE)

    assert [answer.status_code for answer in (first, again, next_one)] == [200, 200, 200]
    assert first.cookies["refresh"].value == again.cookies["refresh"].value == refresh_token(session.pk, 2)
    assert next_one.cookies["refresh"].value == refresh_token(session.pk, 3)
    assert sorted(first.json()) == ["access", "expires_in"]


def test_fifty_parallel_refreshes_of_one_token_give_one_successor(member):
    session = sign_in(member).session

    def refresh(_):
        try:
            answer = post(cookie_of(session, 1), "refresh", **FROM_PAGE)
            return answer.status_code, answer.cookies["refresh"].value
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(refresh, range(50)))

    assert answers == {(200, refresh_token(session.pk, 2))}
    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (2, None)


def test_a_token_replayed_after_the_grace_ends_the_session_and_its_access_tokens_at_once(member):
    api = sign_in(member)
    newest = post(cookie_of(api.session, 1), "refresh", **FROM_PAGE)
    assert api.get("auth/me").status_code == 200
    Session.objects.filter(pk=api.session.pk).update(
        rotated_at=timezone.now() - settings.REFRESH_GRACE - timedelta(seconds=1)
    )

    replayed = post(cookie_of(api.session, 1), "refresh", **FROM_PAGE)

    assert (replayed.status_code, replayed.json()["code"], replayed.cookies["refresh"].value) == (
        401,
        "refresh_refused",
        "",
    )
    assert post(cookie_of(api.session, 2), "refresh", **FROM_PAGE).status_code == 401
    for access in (api.access, newest.json()["access"]):
        answer = Client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")


def test_a_token_two_generations_old_ends_the_session_even_within_the_grace(member):
    session = sign_in(member).session
    for generation in (1, 2):
        assert post(cookie_of(session, generation), "refresh", **FROM_PAGE).status_code == 200

    assert post(cookie_of(session, 1), "refresh", **FROM_PAGE).status_code == 401
    assert post(cookie_of(session, 3), "refresh", **FROM_PAGE).status_code == 401


@pytest.mark.parametrize(("field", "days"), [("idle_at", 14), ("expires_at", 30)])
def test_a_session_ends_when_idle_or_old(member, field, days):
    session = sign_in(member).session
    assert getattr(session, field) - session.rotated_at == timedelta(days=days)
    Session.objects.filter(pk=session.pk).update(**{field: timezone.now() - timedelta(seconds=1)})

    assert post(cookie_of(session), "refresh", **FROM_PAGE).status_code == 401


def test_rotation_never_extends_beyond_the_first_sign_in(member):
    session = sign_in(member).session

    post(cookie_of(session), "refresh", **FROM_PAGE)

    rotated = Session.objects.get(pk=session.pk)
    assert rotated.expires_at == session.expires_at
    assert rotated.idle_at > session.idle_at


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "." * 150, "é.1.x", "0" * 32 + ".1." + "0" * 64, "0" * 32 + ".x." + "0" * 64]
)
def test_refresh_refuses_tokens_that_we_did_not_make(token):
    client = Client()
    client.cookies["refresh"] = token

    answer = post(client, "refresh", **FROM_PAGE)

    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_refused")


@pytest.mark.parametrize("path", ["refresh", "logout"])
@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ({"Origin": ORIGIN}, "application/json"),
        ({"X-Requested-With": "fetch"}, "application/json"),
        ({"X-Requested-With": "fetch", "Origin": "https://evil.example"}, "application/json"),
        ({"X-Requested-With": "fetch", "Origin": "http://localhost:3000.evil.example"}, "application/json"),
        ({"X-Requested-With": "fetch", "Origin": "null"}, "application/json"),
        ({"X-Requested-With": "fetch", "Origin": "http://bakery.localhost:8000"}, "application/json"),
        (FROM_PAGE, "text/plain"),
        (FROM_PAGE, "application/x-www-form-urlencoded"),
    ],
)
def test_refresh_and_logout_refuse_other_origins_and_forms_and_change_nothing(member, path, headers, kind):
    session = sign_in(member).session

    answer = cookie_of(session).generic("POST", f"/api/v1/auth/{path}", b"{}", content_type=kind, headers=headers)

    assert answer.status_code in {403, 415}
    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (1, None)


def test_logout_ends_the_session_at_once_and_clears_the_cookie(member):
    api = sign_in(member)
    elsewhere = sign_in(member)

    answer = post(cookie_of(api.session), "logout", **FROM_PAGE)

    assert (answer.status_code, answer.cookies["refresh"].value, answer.cookies["refresh"]["max-age"]) == (204, "", 0)
    assert (api.get("auth/me").status_code, elsewhere.get("auth/me").status_code) == (401, 200)
    assert post(cookie_of(api.session), "refresh", **FROM_PAGE).status_code == 401


def test_logout_all_ends_every_session(member):
    one, two = sign_in(member), sign_in(member)

    assert one.post("auth/logout-all").status_code == 204

    assert (one.get("auth/me").status_code, two.get("auth/me").status_code) == (401, 401)
    assert post(cookie_of(two.session), "refresh", **FROM_PAGE).status_code == 401


def test_me_is_changed_under_its_version_only(api):
    version = api.get("auth/me").json()["version"]

    without = api.patch("auth/me", {"name": "X"})
    stale = api.patch("auth/me", {"name": "X"}, if_match=version + 1)
    weak = api.patch("auth/me", {"name": "X"}, if_match=f'W/"{version}"')
    good = api.patch("auth/me", {"name": "New name", "age": None}, if_match=version)

    assert [answer.status_code for answer in (without, stale, weak, good)] == [428, 412, 412, 200]
    assert (good.json()["name"], good["ETag"]) == ("New name", f'"{version + 1}"')


@pytest.mark.parametrize("field", ["email", "password", "roles", "id", "version", "epoch"])
def test_me_refuses_fields_that_are_not_the_users_to_change(api, field):
    assert api.patch("auth/me", {field: "x"}, if_match=1).status_code == 400


def test_delete_me_hides_the_account_keeps_its_address_and_signs_out(member, password_hash):
    api = sign_in(member)

    assert api.delete("auth/me", if_match=member.version).status_code == 204

    assert api.get("auth/me").status_code == 401
    assert post(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 401
    assert post(Client(), "register", {"email": member.email, "password": PASSWORD}).status_code == 409


def test_the_last_admin_cannot_leave(password_hash):
    first = sign_in(UserFactory(role="admin"))
    assert first.delete("auth/me", if_match=1).json()["code"] == "last_admin"

    UserFactory(role="admin")
    assert first.delete("auth/me", if_match=1).status_code == 204


def test_no_refresh_token_can_be_found_in_the_database(member):
    session = sign_in(member).session
    token = post(cookie_of(session), "refresh", **FROM_PAGE).cookies["refresh"].value

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(s)::text FROM accounts_session s")
        dump_of_sessions = cursor.fetchall()
    assert len(dump_of_sessions) == 1
    assert token.rpartition(".")[2] not in dump_of_sessions[0][0]


def test_config_tells_a_front_end_what_it_needs():
    answer = Client().get("/api/v1/config")

    assert answer.json() == {
        "version": settings.VERSION,
        "email_verification": "optional",
        "sign_in_providers": ["password", "passkey"],
        "sites_domain": "localhost",
        "password": {"min_length": 8, "max_bytes": 1024},
        "limits": {"requests_per_minute": 100_000, "body_bytes": 65536, "blueprint_bytes": 10485760},
    }


def test_refresh_refuses_a_session_whose_proof_is_not_ours(member):
    session = sign_in(member).session
    body, _, mac = refresh_token(session.pk, 1).rpartition(".")
    forged = [f"{body}.{'0' * 64}", f"{session.pk.hex}.2.{mac}", f"{body}."]

    for token in forged:
        client = Client()
        client.cookies["refresh"] = token
        assert post(client, "refresh", **FROM_PAGE).status_code == 401

    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (1, None)


def test_a_token_made_under_a_retired_secret_is_good_while_the_secret_is_listed(member, settings):
    session = sign_in(member).session
    token = refresh_token(session.pk, 1)
    retired, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-" * 4

    answers = []
    for settings.SECRET_KEY_FALLBACKS in ([], [retired]):
        client = Client()
        client.cookies["refresh"] = token
        answers.append(post(client, "refresh", **FROM_PAGE))

    assert [answer.status_code for answer in answers] == [401, 200]
    assert answers[1].cookies["refresh"].value == refresh_token(session.pk, 2)


@pytest.mark.parametrize("change", [{"is_active": False}, {"deleted_at": timezone.now()}], ids=["disabled", "hidden"])
def test_refresh_refuses_who_was_disabled_or_hidden_behind_our_back(member, change):
    session = sign_in(member).session
    User.objects.get_queryset().filter(pk=member.pk).update(**change)

    assert post(cookie_of(session), "refresh", **FROM_PAGE).status_code == 401


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://testserver"])
def test_refresh_is_for_named_front_ends_and_for_our_own_page(member, origin, settings):
    session = sign_in(member).session

    answer = post(cookie_of(session), "refresh", **{**FROM_PAGE, "Origin": origin})

    cookie = answer.cookies["refresh"]
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (True, "Strict", "/", "")
    assert (
        settings.SESSION_LIFETIME.total_seconds() - 60 < cookie["max-age"] <= settings.SESSION_LIFETIME.total_seconds()
    )


@pytest.mark.parametrize(
    "origin", ["http://evil-testserver", "http://testserver.evil.example", "ftp://testserver", "testserver"]
)
def test_an_origin_that_resembles_ours_is_not_ours(member, origin):
    assert post(cookie_of(sign_in(member).session), "refresh", **{**FROM_PAGE, "Origin": origin}).status_code == 403


@pytest.mark.parametrize(("method", "path"), [("POST", "auth/logout-all"), ("DELETE", "auth/me")])
def test_leaving_takes_the_cookie_away(api, method, path):
    answer = api.call(method, path, if_match="*")

    assert (answer.status_code, answer.cookies["refresh"].value, answer.cookies["refresh"]["max-age"]) == (204, "", 0)


def test_delete_me_needs_the_version_last_read(api):
    statuses = [api.delete("auth/me", if_match=tag).status_code for tag in (None, 7)]

    assert (statuses, api.get("auth/me").status_code) == ([428, 412], 200)


def test_parallel_changes_of_an_account_under_one_version_let_one_through(api):
    def change(number):
        try:
            return api.patch("auth/me", {"name": f"Name {number}"}, if_match=1).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(16)))

    assert statuses == [200, *[412] * 15]


def test_of_two_administrators_who_leave_at_once_one_stays():
    admins = [sign_in(UserFactory(role="admin")) for _ in range(2)]

    def leave(admin):
        try:
            return admin.delete("auth/me", if_match=1).status_code
        finally:
            connections.close_all()

    for _ in range(10):
        with ThreadPoolExecutor(2) as pool:
            statuses = sorted(pool.map(leave, admins))
        assert statuses == [204, 409]
        User.objects.get_queryset().update(deleted_at=None, epoch=0, version=1)
        redis.client().flushdb()
        admins = [sign_in(admin.user) for admin in admins]


@pytest.mark.parametrize("change", [{"is_active": False}, {"deleted_at": timezone.now()}], ids=["disabled", "hidden"])
def test_an_administrator_who_cannot_act_is_none(change):
    last, gone = sign_in(UserFactory(role="admin")), UserFactory(role="admin")
    User.objects.get_queryset().filter(pk=gone.pk).update(**change)

    assert last.delete("auth/me", if_match=1).json()["code"] == "last_admin"


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2:3::4", "2001:db8:1::/48")],
)
def test_a_session_keeps_the_network_and_never_the_address(member, address, network):
    client = Client(REMOTE_ADDR=address)

    post(client, "login", {"email": member.email, "password": PASSWORD}, User_Agent="x" * 300)

    kept = Session.objects.get(user=member)
    assert (kept.network, kept.agent) == (network, "x" * 200)


def test_no_more_hashes_run_at_once_than_declared(member, monkeypatch):
    import argon2

    running, most, lock = 0, 0, threading.Lock()
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
