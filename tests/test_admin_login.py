"""The door of the admin: password and second factor in one step, slowed down, recorded."""

import json

import pyotp
import pytest
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import Role, Session, Totp, User
from accounts.tests.calls import calm_address, mails_to, subject
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import PASSWORD
from core.jobs import mail
from core.models import Mail
from tests.world import new_world

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(password_hash):
    return new_world(password_hash)


@pytest.fixture(autouse=True)
def many_attempts(settings, tmp_path):
    settings.ADMIN_LOGIN_ATTEMPTS = 1000
    settings.EMAIL_BACKEND = "core.jobs.mail.FolderBackend"
    settings.MAIL_FOLDER = str(tmp_path)


def knock(client, world, **form):
    return client.post(
        "/admin/login/?next=/admin/", {"username": world.api.user.email, "password": PASSWORD, **form}
    )


def is_in(client):
    return client.get("/admin/accounts/user/").status_code == 200


def test_password_alone_opens_while_there_is_no_factor_and_none_is_asked_for(world):
    client = Client()

    assert knock(client, world).status_code == 302
    assert is_in(client)
    entry = Entry.objects.filter(event="admin.signed_in", actor_id=world.api.user.pk).get()
    assert json.loads(entry.facts) == {"method": "password"}
    client.post("/admin/logout/")
    assert not is_in(client)
    assert Entry.objects.filter(event="admin.signed_out", actor_id=world.api.user.pk).count() == 1


def test_with_an_app_the_code_is_needed_and_works_once(world):
    app = world.totp()
    code = app.now()

    missing = knock(Client(), world)
    wrong = knock(Client(), world, code="000000")
    client = Client()
    good = knock(client, world, code=code)
    again = knock(Client(), world, code=code)

    assert [answer.status_code for answer in (missing, wrong, good, again)] == [200, 200, 302, 200]
    assert "Enter the code of your authenticator app" in missing.content.decode()
    assert "This code is wrong" in wrong.content.decode()
    assert is_in(client)


def test_a_recovery_code_opens_once(world):
    world.totp()
    code = world.api.post("auth/recovery-codes").json()["recovery_codes"][0]

    assert [knock(Client(), world, code=code).status_code for _ in range(2)] == [302, 200]


def test_a_passkey_opens_without_address_and_password_and_not_for_customers(world, password_hash):
    def use(of):
        of.passkey()
        asked = Client().post("/api/v1/auth/login/passkey/options", content_type="application/json").json()
        credential = json.dumps(of.authenticator.get(asked["public_key"]))
        client = Client()
        form = {"username": "", "password": "", "challenge": asked["challenge"], "credential": credential}
        return client, client.post("/admin/login/", form)

    client, answer = use(world)
    assert answer.status_code == 302
    assert is_in(client)
    client, answer = use(new_world(password_hash, role="user"))
    assert answer.status_code == 200
    assert not is_in(client)


@pytest.mark.parametrize("credential", ["x", "[]", "null", "{}", '{"rawId": 5}', "5", '"x"', "é"])
def test_a_malformed_passkey_is_an_error_in_the_form(world, credential):
    challenge = (
        Client()
        .post("/api/v1/auth/login/passkey/options", content_type="application/json")
        .json()["challenge"]
    )
    for given in (challenge, "x", ""):
        answer = Client().post("/admin/login/", {"challenge": given, "credential": credential})
        assert answer.status_code == 200


def test_where_staff_need_a_factor_they_see_no_page_before_they_have_one(world, settings):
    settings.STAFF_MFA_REQUIRED = True
    client = Client()
    knock(client, world)

    for path in (
        "/admin/",
        "/admin/accounts/user/",
        f"/admin/accounts/user/{world.other_user.pk}/change/",
        "/admin/password_change/",
    ):
        answer = client.get(path)
        assert (answer.status_code, answer["Location"]) == (302, "/admin/second-factor/")
    page = client.get("/admin/second-factor/")
    secret = Totp.objects.get().secret
    assert secret in page.content.decode()
    assert "<svg" in page.content.decode()
    assert "no-store" in page["Cache-Control"]
    assert "This code is wrong" in client.post("/admin/second-factor/", {"code": "000000"}).content.decode()
    assert Totp.objects.get().secret == secret, "a reload must not change what the phone has read"

    done = client.post("/admin/second-factor/", {"code": pyotp.TOTP(secret).now()})

    assert done.content.decode().count("<li style") >= 10
    assert is_in(client)
    assert "recovery codes left" in client.get("/admin/second-factor/").content.decode()


def test_a_session_opened_before_the_factor_was_made_must_come_again(world, settings):
    client = Client()
    knock(client, world)
    world.totp()
    settings.STAFF_MFA_REQUIRED = True

    assert client.get("/admin/")["Location"] == "/admin/login/"
    assert "_auth_user_id" not in client.session


def test_guessing_at_the_door_slows_down_like_at_the_api(world):
    answers = [knock(Client(), world, password="wrong password") for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert int(answers[-1]["Retry-After"]) >= 1
    api = Client().post(
        "/api/v1/auth/login",
        {"email": world.api.user.email, "password": PASSWORD},
        content_type="application/json",
    )
    assert api.status_code == 429, "door and API count together"


def test_one_network_gets_ten_tries_a_minute_whoever_it_names(world, settings):
    settings.ADMIN_LOGIN_ATTEMPTS = 10

    address = calm_address()
    statuses = [
        knock(Client(REMOTE_ADDR=address), world, username=f"x{number}@example.com").status_code
        for number in range(12)
    ]

    assert statuses == [200] * 10 + [429] * 2


def test_a_new_browser_at_the_door_is_told_and_a_known_one_not(world):
    client = Client()
    knock(client, world)
    client.post("/admin/logout/")
    knock(client, world)

    assert [subject(mail) for mail in mails_to(world.api.user.email)] == ["New sign-in to your account"]


def test_staff_take_factors_away_and_revoke_keys_by_buttons(world, password_hash):
    other = new_world(password_hash, role="user")
    other.totp()
    key = other.key()
    client = Client()
    knock(client, world)

    client.post(
        "/admin/accounts/user/", {"action": "reset_factors", "_selected_action": [str(other.api.user.pk)]}
    )
    client.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [key["id"]]})

    assert other.api.get("auth/mfa").json()["totp"] is False
    refused = Client().get("/api/v1/sites", headers={"Authorization": f"Bearer {key['key']}"})
    assert refused.status_code == 401
    staffs = Entry.objects.filter(actor_kind="staff", actor_id=world.api.user.pk).values_list(
        "event", flat=True
    )
    assert {"factors.reset", "api_key.revoked"} <= set(staffs)
    page = client.get(f"/admin/accounts/user/{other.api.user.pk}/change/").content.decode()
    assert "0 passkeys, 0 recovery codes left" in page
    assert (
        other.key()["prefix"]
        in client.get(f"/admin/accounts/user/{other.api.user.pk}/change/").content.decode()
    )


@pytest.mark.parametrize("page", ["verify-email", "forgot-password", "reset-password"])
def test_pages_of_mailed_links_load_nothing_from_elsewhere_and_are_not_indexed(page):
    answer = Client().get(f"/account/{page}")

    body = answer.content.decode()
    assert answer.status_code == 200
    assert "script-src 'self'" in answer["Content-Security-Policy"]
    assert 'content="noindex"' in body
    assert "http" not in body.replace("http-equiv", "")
    assert Client().get("/account/other").status_code == 404
    assert Client().post(f"/account/{page}").status_code == 405


def test_no_one_but_a_member_of_staff_may_set_up_a_factor_there(password_hash):
    customer = UserFactory(password=password_hash)
    client = Client()
    client.force_login(customer)

    assert client.get("/admin/second-factor/").status_code == 302
    assert Totp.objects.count() == 0


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
def test_an_odd_form_is_shown_again(form):
    assert Client().post("/admin/login/", form).status_code == 200


def test_who_may_write_in_the_admin_gives_and_touches_no_more_than_their_own_rights(world, password_hash):
    role = Role.objects.create(name="clerks", permissions=["admin.access", "admin.write"])
    clerk = UserFactory(password=password_hash)
    clerk.roles.set([role])
    client = Client()
    admin_role = Role.objects.get(name="admin")
    client.post("/admin/login/", {"username": clerk.email, "password": PASSWORD})
    victim = world.api.user
    form = {"name": "x", "age": "", "is_active": "on", "roles": [str(role.pk), str(admin_role.pk)]}
    form |= {
        f"{part}-{name}_FORMS": 0
        for part in ("sessions", "api_keys", "identities")
        for name in ("TOTAL", "INITIAL")
    }

    assert client.post(f"/admin/accounts/user/{clerk.pk}/change/", form).status_code == 200, "no such choice"
    assert client.post(f"/admin/accounts/user/{victim.pk}/change/", form).status_code == 403
    for action in ("sign_out", "disable", "reset_factors", "hide"):
        client.post("/admin/accounts/user/", {"action": action, "_selected_action": [str(victim.pk)]})

    assert sorted(found.name for found in clerk.roles.all()) == ["clerks"]
    assert world.api.get("auth/me").status_code == 200
    assert User.objects.get(pk=victim.pk).is_active


@pytest.mark.parametrize("action", ["disable", "enable", "reset_factors", "hide", "sign_out"])
def test_buttons_on_a_deleted_account_say_so_or_do_nothing(world, action):
    client = Client()
    knock(client, world)
    gone = UserFactory(deleted_at=timezone.now())

    answer = client.post("/admin/accounts/user/", {"action": action, "_selected_action": [str(gone.pk)]})

    assert answer.status_code == 302
    assert client.post(f"/admin/accounts/user/{gone.pk}/change/", {"name": "x"}).status_code == 403


def test_a_copy_of_the_database_opens_no_admin_session(world):
    client = Client()
    knock(client, world)
    cookie = client.cookies["admin-session"].value

    with connection.cursor() as cursor:
        cursor.execute("SELECT session_key FROM django_session")
        (stored,) = cursor.fetchone()
    thief = Client()
    thief.cookies["admin-session"] = stored

    assert stored != cookie
    assert not is_in(thief)
    assert is_in(client)
    client.post("/admin/logout/")
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_session")
        assert cursor.fetchone() == (0,)


def test_guessing_the_old_password_in_the_form_slows_down(world):
    client = Client()
    knock(client, world)
    form = {
        "old_password": "wrong",
        "new_password1": "an entirely new phrase",
        "new_password2": "an entirely new phrase",
    }

    statuses = [client.post("/admin/password_change/", form).status_code for _ in range(12)]

    assert statuses == [200] * 5 + [429] * 7


def test_a_factor_is_set_up_after_a_recent_sign_in_only_and_with_the_secret_one_saw(world):
    client = Client()
    knock(client, world)
    client.get("/admin/second-factor/")
    stolen = pyotp.TOTP(world.api.post("auth/totp").json()["secret"])  # by somebody with a stolen token
    refused = client.post("/admin/second-factor/", {"code": stolen.now()})
    assert "This code is wrong" in refused.content.decode()
    assert stolen.secret not in refused.content.decode()

    session = client.session
    session["proved_at"] -= 301
    session.save()
    answer = client.get("/admin/second-factor/")
    assert (answer.status_code, answer["Location"]) == (302, "/admin/login/?next=/admin/second-factor/")
    assert not is_in(client)


def test_revoke_sessions_for_all_ends_sessions_of_the_admin_too(world):
    client = Client()
    knock(client, world)
    Session.objects.all().delete()

    call_command("revoke_sessions", "--all", verbosity=0)

    assert not is_in(client)


def test_mails_are_listed_without_what_they_say_and_can_be_tried_again(world):
    made = mail.enqueue_mail(
        "reader@example.com", "new_device", device="SECRET-DEVICE", network="", time="now"
    )
    Mail.objects.update(state=Mail.State.DEAD, attempts=16, error="ConnectionRefusedError")
    client = Client()
    knock(client, world)
    pages = [client.get(f"/admin/core/mail/{path}").content.decode() for path in ("", f"{made.pk}/change/")]

    client.post("/admin/core/mail/", {"action": "retry", "_selected_action": [str(made.pk)]})

    assert all("reader@example.com" in page and "SECRET-DEVICE" not in page for page in pages)
    assert [subject(text) for text in mails_to("reader@example.com")] == ["New sign-in to your account"]
