"""Refresh and sign-out, as a front end does them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import make_refresh_token
from accounts.models import Session, User
from accounts.tests.helpers import BROWSER_HEADERS, ORIGIN, client_with_refresh_cookie, post_auth
from conftest import PASSWORD, sign_in

pytestmark = pytest.mark.django_db


def test_refresh_gives_new_tokens_and_the_old_one_the_same_successor_within_the_grace(member):
    session = sign_in(member).session
    client = client_with_refresh_cookie(session)

    first = post_auth(client, "refresh", **BROWSER_HEADERS)
    again = post_auth(client_with_refresh_cookie(session, 1), "refresh", **BROWSER_HEADERS)
    next_one = post_auth(client_with_refresh_cookie(session, 2), "refresh", **BROWSER_HEADERS)

    assert [answer.status_code for answer in (first, again, next_one)] == [200, 200, 200]
    assert (
        first.cookies["refresh"].value == again.cookies["refresh"].value == make_refresh_token(session.pk, 2)
    )
    assert next_one.cookies["refresh"].value == make_refresh_token(session.pk, 3)
    assert sorted(first.json()) == ["access", "expires_in"]


@pytest.mark.commits
def test_fifty_parallel_refreshes_of_one_token_give_one_successor(member):
    session = sign_in(member).session

    def refresh(_):
        try:
            answer = post_auth(client_with_refresh_cookie(session, 1), "refresh", **BROWSER_HEADERS)
            return answer.status_code, answer.cookies["refresh"].value
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        answers = set(pool.map(refresh, range(50)))

    assert answers == {(200, make_refresh_token(session.pk, 2))}
    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (2, None)


def test_a_token_replayed_after_the_grace_ends_the_session_and_its_access_tokens_at_once(member):
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
        answer = Client().get("/api/v1/auth/me", headers={"Authorization": f"Bearer {access}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "token_revoked")


def test_a_token_two_generations_old_ends_the_session_even_within_the_grace(member):
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
def test_a_session_ends_when_idle_or_old(member, field, days):
    session = sign_in(member).session
    assert getattr(session, field) - session.rotated_at == timedelta(days=days)
    Session.objects.filter(pk=session.pk).update(**{field: timezone.now() - timedelta(seconds=1)})

    assert post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS).status_code == 401


def test_rotation_never_extends_beyond_the_first_sign_in(member):
    session = sign_in(member).session

    post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS)

    rotated = Session.objects.get(pk=session.pk)
    assert rotated.expires_at == session.expires_at
    assert rotated.idle_at > session.idle_at


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", "." * 150, "é.1.x", "0" * 32 + ".1." + "0" * 64, "0" * 32 + ".x." + "0" * 64]
)
def test_refresh_refuses_tokens_that_we_did_not_make(token):
    client = Client()
    client.cookies["refresh"] = token

    answer = post_auth(client, "refresh", **BROWSER_HEADERS)

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
        (BROWSER_HEADERS, "text/plain"),
        (BROWSER_HEADERS, "application/x-www-form-urlencoded"),
    ],
)
def test_refresh_and_logout_refuse_other_origins_and_forms_and_change_nothing(member, path, headers, kind):
    session = sign_in(member).session

    answer = client_with_refresh_cookie(session).generic(
        "POST", f"/api/v1/auth/{path}", b"{}", content_type=kind, headers=headers
    )

    assert answer.status_code in {403, 415}
    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (1, None)


def test_logout_ends_the_session_at_once_and_clears_the_cookie(member):
    api = sign_in(member)
    elsewhere = sign_in(member)

    answer = post_auth(client_with_refresh_cookie(api.session), "logout", **BROWSER_HEADERS)

    assert (answer.status_code, answer.cookies["refresh"].value, answer.cookies["refresh"]["max-age"]) == (
        204,
        "",
        0,
    )
    assert (api.get("auth/me").status_code, elsewhere.get("auth/me").status_code) == (401, 200)
    assert post_auth(client_with_refresh_cookie(api.session), "refresh", **BROWSER_HEADERS).status_code == 401


def test_logout_all_ends_every_session(member):
    one = sign_in(member)
    two = sign_in(member)

    assert one.post("auth/logout-all").status_code == 204

    assert (one.get("auth/me").status_code, two.get("auth/me").status_code) == (401, 401)
    assert post_auth(client_with_refresh_cookie(two.session), "refresh", **BROWSER_HEADERS).status_code == 401


def test_no_refresh_token_can_be_found_in_the_database(member):
    session = sign_in(member).session
    token = (
        post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS).cookies["refresh"].value
    )

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_jsonb(s)::text FROM accounts_session s")
        dump_of_sessions = cursor.fetchall()
    assert len(dump_of_sessions) == 1
    assert token.rpartition(".")[2] not in dump_of_sessions[0][0]


def test_refresh_refuses_a_session_whose_proof_is_not_ours(member):
    session = sign_in(member).session
    body, _, mac = make_refresh_token(session.pk, 1).rpartition(".")
    forged = [f"{body}.{'0' * 64}", f"{session.pk.hex}.2.{mac}", f"{body}."]

    for token in forged:
        client = Client()
        client.cookies["refresh"] = token
        assert post_auth(client, "refresh", **BROWSER_HEADERS).status_code == 401

    session.refresh_from_db()
    assert (session.generation, session.revoked_at) == (1, None)


def test_a_token_made_under_a_retired_secret_is_good_while_the_secret_is_listed(member, settings):
    session = sign_in(member).session
    token = make_refresh_token(session.pk, 1)
    retired, settings.SECRET_KEY = settings.SECRET_KEY, "another-secret-" * 4

    answers = []
    for settings.SECRET_KEY_FALLBACKS in ([], [retired]):
        client = Client()
        client.cookies["refresh"] = token
        answers.append(post_auth(client, "refresh", **BROWSER_HEADERS))

    assert [answer.status_code for answer in answers] == [401, 200]
    assert answers[1].cookies["refresh"].value == make_refresh_token(session.pk, 2)


@pytest.mark.parametrize(
    "change", [{"is_active": False}, {"deleted_at": timezone.now()}], ids=["disabled", "hidden"]
)
def test_refresh_refuses_who_was_disabled_or_hidden_behind_our_back(member, change):
    session = sign_in(member).session
    User.objects.get_queryset().filter(pk=member.pk).update(**change)

    assert post_auth(client_with_refresh_cookie(session), "refresh", **BROWSER_HEADERS).status_code == 401


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://testserver"])
def test_refresh_is_for_named_front_ends_and_for_our_own_page(member, origin, settings):
    session = sign_in(member).session

    answer = post_auth(
        client_with_refresh_cookie(session), "refresh", **{**BROWSER_HEADERS, "Origin": origin}
    )

    cookie = answer.cookies["refresh"]
    assert (answer.status_code, answer["Cache-Control"]) == (200, "no-store")
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
def test_an_origin_that_resembles_ours_is_not_ours(member, origin):
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
def test_a_session_keeps_the_network_and_never_the_address(member, address, network):
    client = Client(REMOTE_ADDR=address)

    post_auth(client, "login", {"email": member.email, "password": PASSWORD}, User_Agent="x" * 300)

    kept = Session.objects.get(user=member)
    assert (kept.network, kept.agent) == (network, "x" * 200)
