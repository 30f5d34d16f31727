"""Second factors: codes, recovery codes, passkeys; and proving again."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pyotp
import pytest
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.credentials import challenges
from accounts.models import RecoveryCode, Session, Totp, User
from accounts.services import mfa, users
from accounts.tests.calls import answer, login, mails_to, post, subject
from audit.actors import SYSTEM
from conftest import PASSWORD
from tests.world import new_world, wait_for_stable_totp_step

pytestmark = pytest.mark.django_db


def test_an_app_is_set_up_with_a_secret_a_uri_and_a_picture(world):
    begun = world.api.post("auth/totp").json()

    uri = pyotp.parse_uri(begun["uri"])
    assert (uri.secret, uri.name, uri.issuer) == (begun["secret"], world.api.user.email, "localhost")
    assert begun["qr_svg"].startswith("<svg")
    assert world.api.get("auth/mfa").json() == {"totp": False, "passkeys": 0, "recovery_codes": 0}
    assert login(world).status_code == 200, "an app that was not confirmed guards nothing"

    confirmed = world.api.post("auth/totp/confirm", {"code": pyotp.TOTP(begun["secret"]).now()})

    codes = confirmed.json()["recovery_codes"]
    assert (len(set(codes)), {len(code) for code in codes}) == (10, {19})
    assert world.api.get("auth/mfa").json() == {"totp": True, "passkeys": 0, "recovery_codes": 10}
    assert world.api.post("auth/totp").json()["code"] == "factor_exists"
    assert subject(mails_to(world.api.user.email)[-1]) == "Your second factors were changed"


def test_a_wrong_first_code_sets_nothing_up(world):
    secret = world.api.post("auth/totp").json()["secret"]
    wrong = pyotp.TOTP(secret).at(timezone.now() + timedelta(minutes=10))

    assert world.api.post("auth/totp/confirm", {"code": wrong}).json()["code"] == "code_refused"
    assert login(world).status_code == 200


def test_signing_in_takes_password_then_code_and_no_session_before(world):
    app = world.add_totp()
    sessions = Session.objects.count()

    first = login(world)

    body = first.json()
    assert (first.status_code, body["code"], body["methods"]) == (
        401,
        "mfa_required",
        ["totp", "recovery_code"],
    )
    assert (first.cookies, "access" in body, Session.objects.count()) == ({}, False, sessions)
    second = answer(body["challenge"], code=app.now())
    assert (second.status_code, second.json()["user"]["id"]) == (200, str(world.api.user.pk))


@pytest.mark.commits
def test_a_code_works_once_also_for_twenty_at_the_same_time(world):
    app = world.add_totp()
    challenges_ = [login(world).json()["challenge"] for _ in range(2)]
    code = app.now()

    def use(number):
        try:
            return (
                Client(REMOTE_ADDR=f"198.51.100.{number}")
                .post(
                    "/api/v1/auth/mfa/verify",
                    {"challenge": challenges_[number % 2], "code": code},
                    content_type="application/json",
                )
                .status_code
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(use, range(20)))

    assert statuses == [200] + [401] * 19


@pytest.mark.parametrize(("seconds", "status"), [(-30, 200), (0, 200), (30, 200), (-90, 401), (90, 401)])
def test_a_phone_may_be_half_a_minute_off(world, seconds, status):
    secret = world.api.post("auth/totp").json()["secret"]
    Totp.objects.update(confirmed_at=timezone.now(), last_step=0)
    challenge = login(world).json()["challenge"]
    wait_for_stable_totp_step()
    code = pyotp.TOTP(secret).at(timezone.now() + timedelta(seconds=seconds))

    assert answer(challenge, code=code).status_code == status


def test_a_challenge_is_for_one_sign_in_and_for_five_minutes(world):
    app = world.add_totp()
    challenge = login(world).json()["challenge"]
    assert answer(challenge, code=app.now()).status_code == 200
    Totp.objects.update(last_step=0)

    assert answer(challenge, code=app.now()).json()["code"] == "challenge_refused"
    old, _ = challenges.issue("second factor", user=world.api.user, now=timezone.now() - timedelta(minutes=5))
    assert answer(old, code=app.now()).json()["code"] == "challenge_refused"
    assert Totp.objects.get().last_step == 0, "a refused challenge uses no code up"


def test_a_challenge_ends_with_the_password_it_came_after(world):
    app = world.add_totp()
    challenge = login(world).json()["challenge"]
    users.set_password(world.api.user.pk, "an entirely new phrase", actor=SYSTEM, now=timezone.now())

    assert answer(challenge, code=app.now()).json()["code"] == "challenge_refused"


@pytest.mark.parametrize("rubbish", ["", "x", "x.y", "é.é", "." * 900, "e30.00"])
def test_challenges_that_are_not_ours_are_refused(world, rubbish):
    assert answer(rubbish, code="123456").status_code in {400, 401}


def test_a_challenge_for_one_purpose_is_none_for_another(world):
    app = world.add_totp()
    other, _ = challenges.issue("passkey registration", user=world.api.user, now=timezone.now())

    assert answer(other, code=app.now()).json()["code"] == "challenge_refused"


def test_guessing_codes_slows_down_for_that_address_and_not_for_the_owner(world):
    app = world.add_totp()
    challenge = login(world).json()["challenge"]
    statuses = [answer(challenge, code=f"{number:06}").status_code for number in range(8)]
    assert statuses == [401] * 5 + [429] * 3

    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    again = post(elsewhere, "login", {"email": world.api.user.email, "password": PASSWORD}).json()[
        "challenge"
    ]
    assert post(elsewhere, "mfa/verify", {"challenge": again, "code": app.now()}).status_code == 200


def test_guessing_codes_from_many_addresses_slows_down_too_and_a_recovery_code_still_works(world):
    world.add_totp()
    code = world.api.post("auth/recovery-codes").json()["recovery_codes"][0]
    challenge = login(world).json()["challenge"]

    def guess(number):
        body = {"challenge": challenge, "code": f"{number:06}"}
        return post(Client(REMOTE_ADDR=f"198.51.{number}.1"), "mfa/verify", body).status_code

    assert [guess(number) for number in range(22)] == [401] * 20 + [429] * 2
    assert answer(challenge, recovery_code=code).status_code == 200


def test_recovery_codes_work_once_each_and_the_owner_is_told(world):
    world.add_totp()
    codes = world.api.post("auth/recovery-codes").json()["recovery_codes"]

    first = answer(login(world).json()["challenge"], recovery_code=codes[0].lower().replace("-", " "))
    again = answer(login(world).json()["challenge"], recovery_code=codes[0])

    assert (first.status_code, again.json()["code"]) == (200, "code_refused")
    assert any("9 of them are left" in mail for mail in mails_to(world.api.user.email))


def test_new_recovery_codes_end_the_old_ones_and_need_a_factor(world):
    assert world.api.post("auth/recovery-codes").json()["code"] == "factor_missing"
    world.add_totp()
    old = world.api.post("auth/recovery-codes").json()["recovery_codes"]
    world.api.post("auth/recovery-codes")

    assert answer(login(world).json()["challenge"], recovery_code=old[0]).json()["code"] == "code_refused"
    assert RecoveryCode.objects.count() == 10


def test_a_password_reset_leaves_the_second_factor_in_place(world):
    world.add_totp()
    User.objects.update(email_verified_at=timezone.now())
    token = world.email_token("reset")
    post(Client(), "password/reset", {"token": token, "password": "an entirely new phrase"})

    fresh = post(Client(), "login", {"email": world.api.user.email, "password": "an entirely new phrase"})

    assert fresh.json()["code"] == "mfa_required"


@pytest.mark.commits
def test_staff_keep_their_last_factor_also_when_both_are_removed_at_once(password_hash):
    staff = new_world(password_hash)
    staff.add_totp()
    pk = staff.add_passkey()["id"]

    def remove(path):
        try:
            return staff.api.delete(path).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        statuses = sorted(pool.map(remove, ["auth/totp", f"auth/passkeys/{pk}"]))

    assert statuses == [204, 409]


def test_neither_secrets_nor_codes_are_readable_in_the_database(world):
    secret = world.api.post("auth/totp").json()["secret"]
    codes = world.api.post("auth/totp/confirm", {"code": pyotp.TOTP(secret).now()}).json()["recovery_codes"]

    with connection.cursor() as cursor:
        cursor.execute("SELECT encode(secret, 'escape') FROM accounts_totp")
        stored = str(cursor.fetchall())
        cursor.execute("SELECT r::text FROM accounts_recoverycode r")
        stored += str(cursor.fetchall())
    assert secret not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


def test_staff_take_factors_away_and_the_owner_is_told(world):
    world.add_totp()
    world.add_passkey()

    mfa.reset_factors(world.api.user.pk, actor=SYSTEM)

    assert world.api.get("auth/mfa").json() == {"totp": False, "passkeys": 0, "recovery_codes": 0}
    assert "Staff took all second factors away" in mails_to(world.api.user.email)[-1]
