"""Sign-up, sign-in, refresh and sign-out, as a front end does them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.models import Session, User
from accounts.tests.factories import UserFactory
from accounts.tokens import refresh_token
from conftest import PASSWORD, dump, sign_in

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
        "sign_in_providers": ["password"],
        "sites_domain": "localhost",
        "password": {"min_length": 8, "max_bytes": 1024},
        "limits": {"requests_per_minute": 100_000, "body_bytes": 65536, "blueprint_bytes": 10485760},
    }
