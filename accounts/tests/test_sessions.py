"""Sessions: refresh, sign-out, and the list of devices."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import make_refresh_token
from accounts.models import Session, User
from accounts.tests.helpers import (
    BROWSER_HEADERS,
    ORIGIN,
    client_with_refresh_cookie,
    post_auth,
)
from conftest import PASSWORD, sign_in

pytestmark = pytest.mark.django_db


def test_refresh_returns_the_same_successor_within_the_grace_period(member):
    session = sign_in(member).session
    client = client_with_refresh_cookie(session)

    first = post_auth(client, "refresh", **BROWSER_HEADERS)
    repeated = post_auth(client_with_refresh_cookie(session, 1), "refresh", **BROWSER_HEADERS)
    next_response = post_auth(client_with_refresh_cookie(session, 2), "refresh", **BROWSER_HEADERS)

    assert [response.status_code for response in (first, repeated, next_response)] == [200, 200, 200]
    assert (
        first.cookies["refresh"].value
        == repeated.cookies["refresh"].value
        == make_refresh_token(session.pk, 2)
    )
    assert next_response.cookies["refresh"].value == make_refresh_token(session.pk, 3)
    assert sorted(first.json()) == ["access", "expires_in"]


@pytest.mark.commits
def test_refresh_in_parallel_returns_one_successor(member):
    session = sign_in(member).session

    def refresh(_):
        try:
            response = post_auth(client_with_refresh_cookie(session, 1), "refresh", **BROWSER_HEADERS)
            return response.status_code, response.cookies["refresh"].value
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        responses = set(pool.map(refresh, range(50)))

    assert responses == {(200, make_refresh_token(session.pk, 2))}
    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (2, None)


def test_refresh_ends_the_session_of_a_token_replayed_after_the_grace_period(member):
    api = sign_in(member)
    newest = post_auth(client_with_refresh_cookie(api.session, 1), "refresh", **BROWSER_HEADERS)
    assert api.get("auth/me").status_code == 200
    Session.objects.filter(pk=api.session.pk).update(
        rotated_at=timezone.now() - settings.REFRESH_GRACE - timedelta(seconds=1)
    )

    replayed = post_auth(client_with_refresh_cookie(api.session, 1), "refresh", **BROWSER_HEADERS)

    assert (replayed.status_code, replayed.json()["code"], replayed.cookies["refresh"].value) == (
        401,
        "refresh_refused",
        "",
    )
    assert (
        post_auth(client_with_refresh_cookie(api.session, 2), "refresh", **BROWSER_HEADERS).status_code == 401
    )
    for access in (api.access, newest.json()["access"]):
        response = Client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access}"})
        assert (response.status_code, response.json()["code"]) == (401, "token_revoked")


def test_refresh_ends_the_session_of_a_token_two_generations_old(member):
    session = sign_in(member).session
    for generation in (1, 2):
        assert (
            post_auth(
                client_with_refresh_cookie(session, generation), "refresh", **BROWSER_HEADERS
            ).status_code
            == 200
        )

    assert post_auth(client_with_refresh_cookie(session, 1), "refresh", **BROWSER_HEADERS).status_code == 401
    assert post_auth(client_with_refresh_cookie(session, 3), "refresh", **BROWSER_HEADERS).status_code == 401


@pytest.mark.parametrize(("field", "days"), [("idle_at", 14), ("expires_at", 30)])
def test_refresh_refuses_an_idle_or_expired_session(member, field, days):
    session = sign_in(member).session
    assert getattr(session, field) - session.rotated_at == timedelta(days=days)
    Session.objects.filter(pk=session.pk).update(**{field: timezone.now() - timedelta(seconds=1)})

    assert post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS).status_code == 401


def test_rotate_session_does_not_extend_the_lifetime(member):
    session = sign_in(member).session

    post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS)

    rotated = Session.objects.get(pk=session.pk)
    assert rotated.expires_at == session.expires_at
    assert rotated.idle_at > session.idle_at


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "." * 150, "é.1.x", "0" * 32 + ".1." + "0" * 64, "0" * 32 + ".x." + "0" * 64]
)
def test_refresh_refuses_malformed_tokens(token):
    client = Client()
    client.cookies["refresh"] = token

    response = post_auth(client, "refresh", **BROWSER_HEADERS)

    assert (response.status_code, response.json()["code"]) == (401, "refresh_refused")


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
        (BROWSER_HEADERS, "text/plain"),
        (BROWSER_HEADERS, "application/x-www-form-urlencoded"),
    ],
)
def test_refresh_and_logout_refuse_other_origins_and_content_types(member, path, headers, kind):
    session = sign_in(member).session

    response = client_with_refresh_cookie(session).generic(
        "POST", f"/api/v1/auth/{path}", b"{}", content_type=kind, headers=headers
    )

    assert response.status_code in {403, 415}
    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (1, None)


def test_logout_ends_the_session_and_deletes_the_cookie(member):
    api = sign_in(member)
    elsewhere = sign_in(member)

    response = post_auth(client_with_refresh_cookie(api.session), "logout", **BROWSER_HEADERS)

    assert (
        response.status_code,
        response.cookies["refresh"].value,
        response.cookies["refresh"]["max-age"],
    ) == (
        204,
        "",
        0,
    )
    assert (api.get("auth/me").status_code, elsewhere.get("auth/me").status_code) == (401, 200)
    assert post_auth(client_with_refresh_cookie(api.session), "refresh", **BROWSER_HEADERS).status_code == 401


def test_logout_all_ends_every_session(member):
    first = sign_in(member)
    second = sign_in(member)

    assert first.post("auth/logout-all").status_code == 204

    assert (first.get("auth/me").status_code, second.get("auth/me").status_code) == (401, 401)
    assert (
        post_auth(client_with_refresh_cookie(second.session), "refresh", **BROWSER_HEADERS).status_code == 401
    )


def test_make_refresh_token_is_not_stored(member):
    session = sign_in(member).session
    token = (
        post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS).cookies["refresh"].value
    )

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(s)::text FROM accounts_session s")
        stored = cursor.fetchall()
    assert len(stored) == 1
    assert token.rpartition(".")[2] not in stored[0][0]


def test_parse_refresh_token_refuses_forged_signatures(member):
    session = sign_in(member).session
    body, _, mac = make_refresh_token(session.pk, 1).rpartition(".")
    forged = [f"{body}.{'0' * 64}", f"{session.pk.hex}.2.{mac}", f"{body}."]

    for token in forged:
        client = Client()
        client.cookies["refresh"] = token
        assert post_auth(client, "refresh", **BROWSER_HEADERS).status_code == 401

    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (1, None)


def test_parse_refresh_token_accepts_a_listed_fallback_key(member, settings):
    session = sign_in(member).session
    token = make_refresh_token(session.pk, 1)
    retired, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-" * 4

    responses = []
    for settings.SECRET_KEY_FALLBACKS in ([], [retired]):
        client = Client()
        client.cookies["refresh"] = token
        responses.append(post_auth(client, "refresh", **BROWSER_HEADERS))

    assert [response.status_code for response in responses] == [401, 200]
    assert responses[1].cookies["refresh"].value == make_refresh_token(session.pk, 2)


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"deleted_at": timezone.now()}], ids=["disabled", "hidden"]
)
def test_refresh_refuses_a_disabled_or_deleted_user(member, change):
    session = sign_in(member).session
    User.objects.get_queryset().filter(pk=member.pk).update(**change)

    assert post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS).status_code == 401


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://testserver"])
def test_refresh_accepts_cors_origins_and_our_own_pages(member, origin, settings):
    session = sign_in(member).session

    response = post_auth(
        client_with_refresh_cookie(session), "refresh", **{**BROWSER_HEADERS, "Origin": origin}
    )

    cookie = response.cookies["refresh"]
    assert (response.status_code, response["Cache-Control"]) == (200, "no-store")
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["domain"]) == (
        True,
        "Strict",
        "/",
        "",
    )
    assert (
        settings.SESSION_LIFETIME.total_seconds() - 60
        < cookie["max-age"]
        <= settings.SESSION_LIFETIME.total_seconds()
    )


@pytest.mark.parametrize(
    "origin", ["http://evil-testserver", "http://testserver.evil.example", "ftp://testserver", "testserver"]
)
def test_check_origin_refuses_similar_origins(member, origin):
    assert (
        post_auth(
            client_with_refresh_cookie(sign_in(member).session),
            "refresh",
            **{**BROWSER_HEADERS, "Origin": origin},
        ).status_code
        == 403
    )


@pytest.mark.parametrize(
    ("address", "network"),
    [("203.0.113.77", "203.0.113.0/24"), ("2001:db8:1:2:3::4", "2001:db8:1::/48")],
)
def test_open_session_stores_the_network_and_not_the_address(member, address, network):
    client = Client(REMOTE_ADDR=address)

    post_auth(client, "login", {"email": member.email, "password": PASSWORD}, User_Agent="x" * 300)

    session = Session.objects.get(user=member)
    assert (session.network, session.agent) == (network, "x" * 200)


def test_sessions_list_shows_device_network_and_current(member):
    chrome = (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/120.0.0.0 Safari/537.36"
    )
    browser = Client(REMOTE_ADDR="203.0.113.77", headers={"User-Agent": chrome})
    access = post_auth(browser, "login", {"email": member.email, "password": PASSWORD}).json()["access"]
    other = sign_in(member)

    listed = browser.get("/api/v1/auth/sessions", headers={"Authorization": f"Bearer {access}"}).json()[
        "results"
    ]

    assert [(row["device"], row["network"], row["current"]) for row in listed] == [
        ("An unknown program", "", False),
        ("Chrome on Windows", "203.0.113.0/24", True),
    ]
    assert "203.0.113.77" not in str(listed)
    ended = browser.delete(
        f"/api/v1/auth/sessions/{listed[0]['id']}", headers={"Authorization": f"Bearer {access}"}
    )
    assert ended.status_code == 204
    assert other.get("auth/me").json()["code"] == "token_revoked"
    assert (
        len(
            browser.get("/api/v1/auth/sessions", headers={"Authorization": f"Bearer {access}"}).json()[
                "results"
            ]
        )
        == 1
    )


def test_sessions_list_and_destroy_hide_sessions_of_other_users(api, other):
    assert other.delete(f"auth/sessions/{api.session.pk}").status_code == 404
    assert api.get("auth/me").status_code == 200
    assert [row["id"] for row in other.get("auth/sessions").json()["results"]] == [str(other.session.pk)]
