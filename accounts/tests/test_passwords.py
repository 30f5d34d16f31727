"""Passwords: which are refused, and how one is changed."""

import pytest
from django.test import Client

from accounts.models import Session
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail
from conftest import PASSWORD, sign_in

pytestmark = pytest.mark.django_db
NEW = "an entirely new phrase"


@pytest.mark.parametrize(
    "password",
    [
        "short",
        "password",
        "Password123!",
        "!!qwerty1",
        "12345678",
        "iloveyou2024",
        "Getyousite1",
        "petra.miller",
        "Petra Miller",
        "é" * 513,
    ],
)
def test_what_others_would_try_first_is_refused(password):
    body = {"email": "petra.miller@example.com", "password": password, "name": "Petra Miller"}

    answer = post_auth(Client(), "register", body)

    assert (answer.status_code, {error["pointer"] for error in answer.json()["errors"]}) == (
        400,
        {"/password"},
    )


@pytest.mark.parametrize(
    "password", ["correct horse battery staple", "ж" * 8, " spaces count ", "x7" * 500, "Tr0ub4dor&3"]
)
def test_what_is_long_enough_and_not_common_is_taken_as_it_is(password):
    body = {"email": "somebody@example.com", "password": password}

    assert post_auth(Client(), "register", body).status_code == 201
    assert post_auth(Client(), "login", body).status_code == 200
    assert post_auth(Client(), "login", {**body, "password": password.strip() + "x"}).status_code == 401


def test_a_change_needs_the_old_one_ends_every_session_and_opens_a_new_one(member):
    here = sign_in(member)
    there = sign_in(member)

    wrong = here.post("auth/password/change", {"current_password": "wrong password", "password": NEW})
    changed = here.post("auth/password/change", {"current_password": PASSWORD, "password": NEW})

    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
    assert changed.status_code == 200
    assert [who.get("auth/me").status_code for who in (here, there)] == [401, 401]
    fresh = {"Authorization": f"Bearer {changed.json()['access']}"}
    assert Client().get("/api/v1/auth/me", headers=fresh).status_code == 200
    assert Session.objects.filter(revoked_at=None).count() == 1
    assert [subject_of_mail(mail) for mail in deliver_and_read_mails(member.email)] == [
        "New sign-in to your account",
        "Your password was changed",
    ]


def test_a_change_to_a_weak_one_changes_nothing(member):
    here = sign_in(member)

    answer = here.post(
        "auth/password/change", {"current_password": PASSWORD, "password": "member@example.com"}
    )

    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "/password")
    assert here.get("auth/me").status_code == 200
    assert post_auth(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 200
