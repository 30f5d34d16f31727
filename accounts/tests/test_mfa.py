"""Second factors: TOTP codes, recovery codes and challenges."""

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
from accounts.tests.helpers import deliver_and_read_mails, log_in, post_auth, subject_of_mail, verify_mfa
from audit.actors import SYSTEM
from conftest import PASSWORD
from tests.world import new_world, wait_for_stable_totp_step

pytestmark = pytest.mark.django_db


def test_begin_totp_and_confirm_totp_set_up_an_app(world):
    totp = world.api.post("auth/totp").json()

    uri = pyotp.parse_uri(totp["uri"])
    assert (uri.secret, uri.name, uri.issuer) == (totp["secret"], world.api.user.email, "localhost")
    assert totp["qr_svg"].startswith("<svg")
    assert world.api.get("auth/mfa").json() == {"totp": False, "passkeys": 0, "recovery_codes": 0}
    assert log_in(world).status_code == 200, "an app that was not confirmed guards nothing"

    confirmed = world.api.post("auth/totp/confirm", {"code": pyotp.TOTP(totp["secret"]).now()})

    codes = confirmed.json()["recovery_codes"]
    assert (len(set(codes)), {len(code) for code in codes}) == (10, {19})
    assert world.api.get("auth/mfa").json() == {"totp": True, "passkeys": 0, "recovery_codes": 10}
    assert world.api.post("auth/totp").json()["code"] == "factor_exists"
    assert (
        subject_of_mail(deliver_and_read_mails(world.api.user.email)[-1])
        == "Your second factors were changed"
    )


def test_confirm_totp_refuses_a_wrong_code(world):
    secret = world.api.post("auth/totp").json()["secret"]
    wrong = pyotp.TOTP(secret).at(timezone.now() + timedelta(minutes=10))

    assert world.api.post("auth/totp/confirm", {"code": wrong}).json()["code"] == "code_refused"
    assert log_in(world).status_code == 200


def test_verify_mfa_opens_the_session_after_login(world):
    authenticator = world.add_totp()
    sessions = Session.objects.count()

    first = log_in(world)

    body = first.json()
    assert (first.status_code, body["code"], body["methods"]) == (
        401,
        "mfa_required",
        ["totp", "recovery_code"],
    )
    assert (first.cookies, "access" in body, Session.objects.count()) == ({}, False, sessions)
    second = verify_mfa(body["challenge"], code=authenticator.now())
    assert (second.status_code, second.json()["user"]["id"]) == (200, str(world.api.user.pk))


@pytest.mark.commits
def test_consume_totp_code_accepts_a_code_once_in_parallel(world):
    authenticator = world.add_totp()
    challenge_tokens = [log_in(world).json()["challenge"] for _ in range(2)]
    code = authenticator.now()

    def submit_code(number):
        try:
            return (
                Client(REMOTE_ADDR=f"198.51.100.{number}")
                .post(
                    "/api/v1/auth/mfa/verify",
                    {"challenge": challenge_tokens[number % 2], "code": code},
                    content_type="application/json",
                )
                .status_code
            )
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(submit_code, range(20)))

    assert statuses == [200] + [401] * 19


@pytest.mark.parametrize(("seconds", "status"), [(-30, 200), (0, 200), (30, 200), (-90, 401), (90, 401)])
def test_consume_totp_code_accepts_one_step_of_clock_drift(world, seconds, status):
    secret = world.api.post("auth/totp").json()["secret"]
    Totp.objects.update(confirmed_at=timezone.now(), last_step=0)
    challenge = log_in(world).json()["challenge"]
    wait_for_stable_totp_step()
    code = pyotp.TOTP(secret).at(timezone.now() + timedelta(seconds=seconds))

    assert verify_mfa(challenge, code=code).status_code == status


def test_verify_challenge_and_spend_challenge_limit_time_and_use(world):
    authenticator = world.add_totp()
    challenge = log_in(world).json()["challenge"]
    assert verify_mfa(challenge, code=authenticator.now()).status_code == 200
    Totp.objects.update(last_step=0)

    assert verify_mfa(challenge, code=authenticator.now()).json()["code"] == "challenge_refused"
    old, _ = challenges.issue_challenge(
        "second factor", user=world.api.user, now=timezone.now() - timedelta(minutes=5)
    )
    assert verify_mfa(old, code=authenticator.now()).json()["code"] == "challenge_refused"
    assert Totp.objects.get().last_step == 0, "a refused challenge uses no code up"


def test_verify_mfa_refuses_a_challenge_from_before_a_password_change(world):
    authenticator = world.add_totp()
    challenge = log_in(world).json()["challenge"]
    users.set_password(world.api.user.pk, "an entirely new phrase", actor=SYSTEM, now=timezone.now())

    assert verify_mfa(challenge, code=authenticator.now()).json()["code"] == "challenge_refused"


@pytest.mark.parametrize("token", ["", "x", "x.y", "é.é", "." * 900, "e30.00"])
def test_verify_challenge_refuses_forged_tokens(world, token):
    assert verify_mfa(token, code="123456").status_code in {400, 401}


def test_verify_challenge_refuses_another_purpose(world):
    authenticator = world.add_totp()
    other, _ = challenges.issue_challenge("passkey registration", user=world.api.user, now=timezone.now())

    assert verify_mfa(other, code=authenticator.now()).json()["code"] == "challenge_refused"


def test_verify_mfa_throttles_an_address_and_not_the_owner(world):
    authenticator = world.add_totp()
    challenge = log_in(world).json()["challenge"]
    statuses = [verify_mfa(challenge, code=f"{number:06}").status_code for number in range(8)]
    assert statuses == [401] * 5 + [429] * 3

    elsewhere = Client(REMOTE_ADDR="203.0.113.9")
    again = post_auth(elsewhere, "login", {"email": world.api.user.email, "password": PASSWORD}).json()[
        "challenge"
    ]
    assert (
        post_auth(elsewhere, "mfa/verify", {"challenge": again, "code": authenticator.now()}).status_code
        == 200
    )


def test_verify_mfa_throttles_an_account_and_accepts_a_recovery_code(world):
    world.add_totp()
    code = world.api.post("auth/recovery-codes").json()["recovery_codes"][0]
    challenge = log_in(world).json()["challenge"]

    def guess(number):
        body = {"challenge": challenge, "code": f"{number:06}"}
        return post_auth(Client(REMOTE_ADDR=f"198.51.{number}.1"), "mfa/verify", body).status_code

    assert [guess(number) for number in range(22)] == [401] * 20 + [429] * 2
    assert verify_mfa(challenge, recovery_code=code).status_code == 200


def test_consume_recovery_code_accepts_each_code_once_and_mails_the_owner(world):
    world.add_totp()
    codes = world.api.post("auth/recovery-codes").json()["recovery_codes"]

    first = verify_mfa(log_in(world).json()["challenge"], recovery_code=codes[0].lower().replace("-", " "))
    again = verify_mfa(log_in(world).json()["challenge"], recovery_code=codes[0])

    assert (first.status_code, again.json()["code"]) == (200, "code_refused")
    assert any("9 of them are left" in mail for mail in deliver_and_read_mails(world.api.user.email))


def test_new_recovery_codes_replace_old_ones_and_require_a_factor(world):
    assert world.api.post("auth/recovery-codes").json()["code"] == "factor_missing"
    world.add_totp()
    old = world.api.post("auth/recovery-codes").json()["recovery_codes"]
    world.api.post("auth/recovery-codes")

    assert (
        verify_mfa(log_in(world).json()["challenge"], recovery_code=old[0]).json()["code"] == "code_refused"
    )
    assert RecoveryCode.objects.count() == 10


def test_reset_password_keeps_second_factors(world):
    world.add_totp()
    User.objects.update(email_verified_at=timezone.now())
    token = world.email_token("reset")
    post_auth(Client(), "password/reset", {"token": token, "password": "an entirely new phrase"})

    login = post_auth(
        Client(), "login", {"email": world.api.user.email, "password": "an entirely new phrase"}
    )

    assert login.json()["code"] == "mfa_required"


@pytest.mark.commits
def test_remove_totp_and_remove_passkey_in_parallel_leave_staff_one_factor(password_hash):
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


def test_begin_totp_and_new_recovery_codes_store_no_plain_text(world):
    secret = world.api.post("auth/totp").json()["secret"]
    codes = world.api.post("auth/totp/confirm", {"code": pyotp.TOTP(secret).now()}).json()["recovery_codes"]

    with connection.cursor() as cursor:
        cursor.execute("SELECT encode(secret, 'escape') FROM accounts_totp")
        stored = str(cursor.fetchall())
        cursor.execute("SELECT r::text FROM accounts_recoverycode r")
        stored += str(cursor.fetchall())
    assert secret not in stored
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)


def test_reset_factors_removes_all_factors_and_mails_the_owner(world):
    world.add_totp()
    world.add_passkey()

    mfa.reset_factors(world.api.user.pk, actor=SYSTEM)

    assert world.api.get("auth/mfa").json() == {"totp": False, "passkeys": 0, "recovery_codes": 0}
    assert "Staff removed all second factors" in deliver_and_read_mails(world.api.user.email)[-1]
