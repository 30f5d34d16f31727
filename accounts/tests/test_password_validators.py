"""Password rules, and the change of a password."""

import pytest
from django.test import Client

from accounts.models import Session
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail
from conftest import PASSWORD, sign_in

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "an entirely new phrase"


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
def test_validate_new_password_refuses_weak_passwords(password):
    body = {"email": "petra.miller@example.com", "password": password, "name": "Petra Miller"}

    response = post_auth(Client(), "register", body)

    assert (response.status_code, {error["pointer"] for error in response.json()["errors"]}) == (
        400,
        {"/password"},
    )


@pytest.mark.parametrize(
    "password", ["correct horse battery staple", "ж" * 8, " spaces count ", "x7" * 500, "Tr0ub4dor&3"]
)
def test_validate_new_password_accepts_strong_passwords_unchanged(password):
    body = {"email": "somebody@example.com", "password": password}

    assert post_auth(Client(), "register", body).status_code == 201
    assert post_auth(Client(), "login", body).status_code == 200
    assert post_auth(Client(), "login", {**body, "password": password.strip() + "x"}).status_code == 401


def test_change_password_replaces_all_sessions_by_a_new_one(member):
    this_device = sign_in(member)
    other_device = sign_in(member)

    wrong = this_device.post(
        "auth/password/change", {"current_password": "wrong password", "password": NEW_PASSWORD}
    )
    changed = this_device.post(
        "auth/password/change", {"current_password": PASSWORD, "password": NEW_PASSWORD}
    )

    assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
    assert changed.status_code == 200
    assert [device.get("auth/me").status_code for device in (this_device, other_device)] == [401, 401]
    headers = {"Authorization": f"Bearer {changed.json()['access']}"}
    assert Client().get("/api/v1/auth/me", headers=headers).status_code == 200
    assert Session.objects.filter(revoked_at=None).count() == 1
    assert [subject_of_mail(mail) for mail in deliver_and_read_mails(member.email)] == [
        "New sign-in to your account",
        "Your password was changed",
    ]


def test_change_password_refuses_a_weak_password(member):
    this_device = sign_in(member)

    response = this_device.post(
        "auth/password/change", {"current_password": PASSWORD, "password": "member@example.com"}
    )

    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (400, "/password")
    assert this_device.get("auth/me").status_code == 200
    assert post_auth(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 200
