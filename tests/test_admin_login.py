"""Signing in to the admin: password, second factor, passkey, throttling, and what ends a session.

The pages that mailed links open are here too, because they have the same protections.
"""

import json
from urllib.parse import urlencode

import pyotp
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client

from accounts.models import Session, Totp
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import address_in_mid_window, deliver_and_read_mails, subject_of_mail
from audit.models import Entry
from conftest import PASSWORD, sign_in
from tests.admin_client import submit_login
from tests.world import new_world

pytestmark = pytest.mark.django_db
FACTOR_PAGE = "/admin/second-factor/"


@pytest.fixture
def world(password_hash):
    return new_world(password_hash)


@pytest.fixture(autouse=True)
def high_attempt_limit(settings):
    settings.ADMIN_LOGIN_ATTEMPTS = 1000


def is_signed_in(client):
    return client.get("/admin/accounts/user/").status_code == 200


def passkey_options():
    response = Client().post("/api/v1/auth/login/passkey/options", content_type="application/json")
    return response.json()


# Password and second factor.


def test_admin_login_accepts_the_password_alone_and_records_it_when_there_is_no_factor(world):
    client = Client()

    assert submit_login(client, world).status_code == 302
    assert is_signed_in(client)
    entry = Entry.objects.filter(event="admin.signed_in", actor_id=world.api.user.pk).get()
    assert json.loads(entry.facts) == {"method": "password"}
    client.post("/admin/logout/")
    assert not is_signed_in(client)
    assert Entry.objects.filter(event="admin.signed_out", actor_id=world.api.user.pk).count() == 1


@pytest.mark.parametrize(
    "next_url", ["", "//elsewhere.example/", "https://elsewhere.example/", "javascript:x"]
)
def test_admin_login_goes_to_the_admin_when_it_refuses_the_next_address(world, next_url):
    client = Client()
    form = {"username": world.api.user.email, "password": PASSWORD, "next": next_url}

    response = client.post(f"/admin/login/?{urlencode({'next': next_url})}", form)

    assert (response.status_code, response["Location"]) == (302, "/admin/")


def test_admin_login_requires_a_totp_code_that_works_once(world):
    code = world.add_totp().now()

    missing = submit_login(Client(), world)
    wrong = submit_login(Client(), world, code="000000")
    client = Client()
    correct = submit_login(client, world, code=code)
    repeated = submit_login(Client(), world, code=code)

    responses = (missing, wrong, correct, repeated)
    assert [response.status_code for response in responses] == [200, 200, 302, 200]
    assert "Enter the code of your authenticator app" in missing.content.decode()
    assert "This code is wrong" in wrong.content.decode()
    assert is_signed_in(client)


def test_admin_login_accepts_a_recovery_code_once(world):
    world.add_totp()
    code = world.api.post("auth/recovery-codes").json()["recovery_codes"][0]

    assert [submit_login(Client(), world, code=code).status_code for _ in range(2)] == [302, 200]


def test_admin_login_accepts_a_passkey_of_staff_without_address_and_password(world, password_hash):
    def submit_passkey(account):
        account.add_passkey()
        options = passkey_options()
        credential = json.dumps(account.authenticator.get(options["public_key"]))
        client = Client()
        form = {"username": "", "password": "", "challenge": options["challenge"], "credential": credential}
        return client, client.post("/admin/login/", form)

    client, response = submit_passkey(world)
    assert response.status_code == 302
    assert is_signed_in(client)
    client, response = submit_passkey(new_world(password_hash, role="user"))
    assert response.status_code == 200
    assert not is_signed_in(client)


@pytest.mark.parametrize("credential", ["x", "[]", "null", "{}", '{"rawId": 5}', "5", '"x"', "é"])
def test_admin_login_shows_a_form_error_for_a_malformed_passkey(world, credential):
    for challenge in (passkey_options()["challenge"], "x", ""):
        response = Client().post("/admin/login/", {"challenge": challenge, "credential": credential})
        assert response.status_code == 200


def test_admin_login_refuses_a_user_who_is_not_staff(password_hash):
    user = UserFactory(password=password_hash)
    client = Client()

    response = client.post("/admin/login/", {"username": user.email, "password": PASSWORD})

    assert response.status_code == 200
    assert "staff account" in response.content.decode()
    assert client.get("/admin/sites/site/").status_code == 302


def test_admin_login_requires_a_csrf_token():
    client = Client(enforce_csrf_checks=True)

    response = client.post("/admin/login/", {"username": "a@example.com", "password": "x"})

    assert response.status_code == 403


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"username": "", "password": ""},
        {"username": "x"},
        {"username": "a\x00b", "password": "x"},
        {"username": "x", "password": "\x00"},
        {"credential": "[" * 19000},
        {"credential": "x" * 30_000},
        {"username": "x" * 5000, "password": "y" * 5000},
        {"code": "x" * 500},
    ],
)
def test_admin_login_shows_a_malformed_form_again(form):
    assert Client().post("/admin/login/", form).status_code == 200


def test_admin_login_mails_about_a_new_device_only(world):
    client = Client()
    submit_login(client, world)
    client.post("/admin/logout/")
    submit_login(client, world)

    assert [subject_of_mail(text) for text in deliver_and_read_mails(world.api.user.email)] == [
        "New sign-in to your account"
    ]


# Setting up the second factor that staff must have.


def test_second_factor_page_is_the_only_page_before_required_mfa_is_set_up(world, settings):
    settings.STAFF_MFA_REQUIRED = True
    client = Client()
    submit_login(client, world)

    for path in (
        "/admin/",
        "/admin/accounts/user/",
        f"/admin/accounts/user/{world.other_user.pk}/change/",
        "/admin/password_change/",
    ):
        response = client.get(path)
        assert (response.status_code, response["Location"]) == (302, FACTOR_PAGE)


def test_second_factor_page_sets_up_totp_and_shows_recovery_codes(world, settings):
    settings.STAFF_MFA_REQUIRED = True
    client = Client()
    submit_login(client, world)

    page = client.get(FACTOR_PAGE)
    secret = Totp.objects.get().secret
    assert secret in page.content.decode()
    assert "<svg" in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    assert "This code is wrong" in client.post(FACTOR_PAGE, {"code": "000000"}).content.decode()
    assert Totp.objects.get().secret == secret, "a reload must not change what the phone has read"

    confirmed = client.post(FACTOR_PAGE, {"code": pyotp.TOTP(secret).now()})

    assert confirmed.content.decode().count("<li style") >= 10
    assert is_signed_in(client)
    assert "recovery codes left" in client.get(FACTOR_PAGE).content.decode()


def test_second_factor_page_is_for_staff_only(password_hash):
    customer = UserFactory(password=password_hash)
    client = Client()
    client.force_login(customer)

    assert client.get(FACTOR_PAGE).status_code == 302
    assert Totp.objects.count() == 0


def test_second_factor_page_refuses_a_secret_that_was_not_shown_in_this_session(world):
    client = Client()
    submit_login(client, world)
    client.get(FACTOR_PAGE)
    # Someone with a stolen access token starts the set-up with a secret of their own.
    stolen = pyotp.TOTP(world.api.post("auth/totp").json()["secret"])

    refused = client.post(FACTOR_PAGE, {"code": stolen.now()})

    assert "This code is wrong" in refused.content.decode()
    assert stolen.secret not in refused.content.decode()


def test_second_factor_page_requires_a_recent_login(world):
    client = Client()
    submit_login(client, world)
    client.get(FACTOR_PAGE)
    session = client.session
    session["proved_at"] -= 301  # seconds
    session.save()

    response = client.get(FACTOR_PAGE)

    assert (response.status_code, response["Location"]) == (302, f"/admin/login/?next={FACTOR_PAGE}")
    assert not is_signed_in(client)


def test_admin_session_from_before_the_factor_must_sign_in_again(world, settings):
    client = Client()
    submit_login(client, world)
    world.add_totp()
    settings.STAFF_MFA_REQUIRED = True

    assert client.get("/admin/")["Location"] == "/admin/login/"
    assert "_auth_user_id" not in client.session


# Throttling.


def test_admin_login_and_api_login_count_wrong_passwords_together(world):
    responses = [submit_login(Client(), world, password="wrong password") for _ in range(7)]

    assert [response.status_code for response in responses] == [200] * 5 + [429] * 2
    assert int(responses[-1]["Retry-After"]) >= 1
    credentials = {"email": world.api.user.email, "password": PASSWORD}
    api_login = Client().post("/api/v1/auth/login", credentials, content_type="application/json")
    assert api_login.status_code == 429


def test_admin_login_allows_ten_attempts_a_minute_per_network_for_any_address(world, settings):
    settings.ADMIN_LOGIN_ATTEMPTS = 10
    client_address = address_in_mid_window()

    statuses = [
        submit_login(Client(REMOTE_ADDR=client_address), world, username=f"x{number}@example.com").status_code
        for number in range(12)
    ]

    assert statuses == [200] * 10 + [429] * 2


def test_admin_login_throttles_one_network_and_not_another(settings):
    settings.ADMIN_LOGIN_ATTEMPTS = 3
    client = Client(REMOTE_ADDR=address_in_mid_window())

    statuses = [
        client.post("/admin/login/", {"username": f"u{n}@example.com", "password": "x"}).status_code
        for n in range(5)
    ]

    assert statuses == [200, 200, 200, 429, 429]
    assert Client(REMOTE_ADDR="203.0.113.21").get("/admin/login/").status_code == 200


def test_admin_password_change_throttles_wrong_old_passwords(world):
    client = Client()
    submit_login(client, world)
    new_password = "an entirely new phrase"
    form = {"old_password": "wrong", "new_password1": new_password, "new_password2": new_password}

    statuses = [client.post("/admin/password_change/", form).status_code for _ in range(12)]

    assert statuses == [200] * 5 + [429] * 7


# What ends a session of the admin.


def test_admin_password_change_ends_every_other_session(staff_client):
    api_session = sign_in(staff_client.user)
    second_client = Client()
    second_client.post("/admin/login/", {"username": staff_client.user.email, "password": PASSWORD})
    new_password = "a completely different password"
    form = {"old_password": PASSWORD, "new_password1": new_password, "new_password2": new_password}

    response = staff_client.post("/admin/password_change/", form)

    assert (response.status_code, staff_client.get("/admin/").status_code) == (302, 200)
    assert api_session.get("auth/me").status_code == 401
    assert second_client.get("/admin/").status_code == 302


def test_logout_all_ends_admin_sessions_too(staff_client):
    assert sign_in(staff_client.user).post("auth/logout-all").status_code == 204

    assert staff_client.get("/admin/").status_code == 302


def test_revoke_sessions_command_with_all_ends_admin_sessions_too(world):
    client = Client()
    submit_login(client, world)
    Session.objects.all().delete()

    call_command("revoke_sessions", "--all", verbosity=0)

    assert not is_signed_in(client)


def test_admin_session_key_is_stored_as_a_digest(world):
    client = Client()
    submit_login(client, world)
    cookie = client.cookies["admin-session"].value

    with connection.cursor() as cursor:
        cursor.execute("SELECT session_key FROM django_session")
        (stored,) = cursor.fetchone()
    attacker = Client()  # knows a copy of the database
    attacker.cookies["admin-session"] = stored

    assert stored != cookie
    assert not is_signed_in(attacker)
    assert is_signed_in(client)
    client.post("/admin/logout/")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_session")
        assert cursor.fetchone() == (0,)


# The pages of mailed links.


@pytest.mark.parametrize("page", ["verify-email", "forgot-password", "reset-password"])
def test_account_pages_load_nothing_from_other_hosts_and_are_not_indexed(page):
    response = Client().get(f"/account/{page}")

    body = response.content.decode()
    assert response.status_code == 200
    assert "script-src 'self'" in response["Content-Security-Policy"]
    assert 'content="noindex"' in body
    assert "http" not in body.replace("http-equiv", "")
    assert Client().get("/account/other").status_code == 404
    assert Client().post(f"/account/{page}").status_code == 405
