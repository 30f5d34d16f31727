"""Accounts with zero-knowledge login: sign-up, sign-in, change and reset of the password, staff."""

import base64
import os

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.models import Role, User
from accounts.services import users
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import (
    ZERO_KNOWLEDGE_CREDENTIALS,
    ZERO_KNOWLEDGE_EMAIL,
    auth_hash,
    deliver_and_read_mails,
    post_auth,
    prelogin,
    sign_up_zero_knowledge,
    token_in_mail,
    zero_knowledge_fields,
)
from audit import actors
from audit.models import Entry
from conftest import PASSWORD, ApiClient, sign_in

pytestmark = pytest.mark.django_db


def test_register_and_login_accept_an_auth_hash(settings):
    created = sign_up_zero_knowledge()
    parameters = prelogin().json()
    salt = base64.b64decode(parameters["salt"])
    login = post_auth(
        Client(),
        "login",
        {
            "email": ZERO_KNOWLEDGE_EMAIL,
            "auth_hash": auth_hash(PASSWORD, salt, parameters["kdf"]["iterations"]),
        },
    )

    assert (created.status_code, created.json()["user"]["scheme"]) == (201, "blind")
    assert parameters == {
        "scheme": "blind",
        "kdf": ZERO_KNOWLEDGE_CREDENTIALS["kdf"],
        "salt": ZERO_KNOWLEDGE_CREDENTIALS["salt"],
    }
    assert login.status_code == 200, login.content
    assert (
        User.objects.alive()
        .get(email=ZERO_KNOWLEDGE_EMAIL)
        .password.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")
    )


def test_confirm_email_finishes_a_zero_knowledge_sign_up(settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True

    assert sign_up_zero_knowledge().status_code == 202
    confirmed = post_auth(
        Client(), "email/verify", {"token": token_in_mail(deliver_and_read_mails(ZERO_KNOWLEDGE_EMAIL)[0])}
    )

    assert (confirmed.status_code, confirmed.json()["user"]["scheme"]) == (200, "blind")
    assert (
        post_auth(
            Client(),
            "login",
            {"email": ZERO_KNOWLEDGE_EMAIL, "auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]},
        ).status_code
        == 200
    )


@pytest.mark.parametrize("stranger", [None, PASSWORD])
def test_confirm_email_discards_both_secrets_of_two_sign_ups(settings, stranger):
    settings.EMAIL_VERIFICATION_REQUIRED = True
    post_auth(
        Client(),
        "register",
        {"email": ZERO_KNOWLEDGE_EMAIL, "password": stranger}
        if stranger
        else {"email": ZERO_KNOWLEDGE_EMAIL, **zero_knowledge_fields("x y")},
    )
    sign_up_zero_knowledge()

    confirmed = post_auth(
        Client(), "email/verify", {"token": token_in_mail(deliver_and_read_mails(ZERO_KNOWLEDGE_EMAIL)[-1])}
    )

    assert (confirmed.status_code, confirmed.json()["user"]["scheme"]) == (200, "password")
    assert (
        post_auth(
            Client(),
            "login",
            {"email": ZERO_KNOWLEDGE_EMAIL, "auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]},
        ).status_code
        == 401
    )


def random_base64(count):
    return base64.b64encode(os.urandom(count)).decode()


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 599_999}}, ["/kdf/iterations"]),
        ({"kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 10_000_001}}, ["/kdf/iterations"]),
        ({"kdf": {"algorithm": "PBKDF2-SHA1", "iterations": 600_000}}, ["/kdf/algorithm"]),
        ({"kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 600_000, "memory": 1}}, ["/kdf/memory"]),
        ({"kdf": None}, ["/kdf"]),
        ({"salt": random_base64(15)}, ["/salt"]),
        ({"salt": random_base64(65)}, ["/salt"]),
        ({"salt": "not base64!"}, ["/salt"]),
        ({"salt": random_base64(16).rstrip("=")}, ["/salt"]),
        ({"auth_hash": random_base64(31)}, ["/auth_hash"]),
        ({"auth_hash": random_base64(33)}, ["/auth_hash"]),
        ({"auth_hash": PASSWORD}, ["/auth_hash"]),
        ({"password": PASSWORD}, ["/password"]),
        ({"scheme": "password"}, ["/auth_hash", "/kdf", "/password", "/salt"]),
        ({"scheme": "srp"}, ["/scheme"]),
    ],
)
def test_register_points_at_invalid_zero_knowledge_fields(fields, pointers):
    change_response = sign_up_zero_knowledge(**fields)

    assert change_response.status_code == 400
    assert sorted(error["pointer"] for error in change_response.json()["errors"]) == pointers
    assert not User.objects.get_queryset().filter(email=ZERO_KNOWLEDGE_EMAIL).exists()


def test_login_refuses_the_secret_of_the_other_scheme(zero_knowledge_account, member):
    as_password = {"email": ZERO_KNOWLEDGE_EMAIL, "password": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]}
    as_hash = {"email": member.email, "auth_hash": zero_knowledge_fields(PASSWORD)["auth_hash"]}
    users.set_password(
        member.pk, ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"], actor=actors.SYSTEM, now=timezone.now()
    )
    same_secret = {"email": member.email, "auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]}

    responses = [post_auth(Client(), "login", body) for body in (as_password, as_hash, same_secret)]

    assert [(response.status_code, response.json()["code"]) for response in responses] == [
        (401, "invalid_credentials")
    ] * 3


@pytest.mark.parametrize(
    "body", [{}, {"password": PASSWORD, "auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]}]
)
def test_login_requires_exactly_one_secret(body):
    change_response = post_auth(Client(), "login", {"email": ZERO_KNOWLEDGE_EMAIL, **body})

    assert (change_response.status_code, change_response.json()["errors"][0]["code"]) == (400, "exactly_one")


def test_user_constraint_refuses_incomplete_kdf_values(zero_knowledge_account):
    for change in (
        {"kdf_iterations": None},
        {"kdf_salt": None},
        {"kdf_iterations": 599_999},
        {"kdf_salt": b"short"},
        {"scheme": "password"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.get_queryset().filter(email=ZERO_KNOWLEDGE_EMAIL).update(**change)


def test_reauthenticate_accepts_the_auth_hash(zero_knowledge_account):
    assert (
        zero_knowledge_account.post(
            "auth/reauthenticate", {"auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]}
        ).status_code
        == 204
    )
    assert (
        zero_knowledge_account.post(
            "auth/reauthenticate", {"auth_hash": auth_hash("wrong", b"x" * 16)}
        ).status_code
        == 401
    )
    assert (
        zero_knowledge_account.post(
            "auth/reauthenticate", {"password": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]}
        ).status_code
        == 401
    )


def test_change_password_requires_the_current_auth_hash(zero_knowledge_account):
    new = zero_knowledge_fields("a new long phrase", salt=os.urandom(32), iterations=700_000)
    wrong = zero_knowledge_account.post(
        "auth/password/change", {"current_auth_hash": new["auth_hash"], **new}
    )
    changed = zero_knowledge_account.post(
        "auth/password/change", {"current_auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"], **new}
    )

    assert (wrong.status_code, changed.status_code) == (401, 200)
    assert prelogin().json() == {"scheme": "blind", "kdf": new["kdf"], "salt": new["salt"]}
    entry_facts = Entry.objects.filter(event="user.password_changed").latest("id").facts
    assert '"kdf_iterations": [600000, 700000]' in entry_facts


def test_change_password_refuses_to_leave_zero_knowledge_login(zero_knowledge_account):
    body = {
        "current_auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"],
        "password": "a password in the clear",
    }
    change_response = zero_knowledge_account.post("auth/password/change", body)

    assert (change_response.status_code, change_response.json()["code"]) == (409, "blind_for_good")
    assert prelogin().json()["scheme"] == "blind"


def test_change_password_switches_to_zero_knowledge_login(member):
    changed = sign_in(member).post(
        "auth/password/change", {"current_password": PASSWORD, **zero_knowledge_fields("another one")}
    )

    assert (changed.status_code, changed.json()["user"]["scheme"]) == (200, "blind")
    assert prelogin(member.email).json()["scheme"] == "blind"


def reset_token(email=ZERO_KNOWLEDGE_EMAIL):
    post_auth(Client(), "password/forgot", {"email": email})
    return deliver_and_read_mails(email)[-1]


def test_reset_password_requires_accept_vault_loss(zero_knowledge_account):
    text = reset_token()
    new = zero_knowledge_fields("a new long phrase")
    without_consent = post_auth(Client(), "password/reset", {"token": token_in_mail(text), **new})
    with_plain_password = post_auth(
        Client(),
        "password/reset",
        {"token": token_in_mail(text), "password": "some long phrase", "accept_vault_loss": True},
    )
    assert "permanently lost" in text
    assert "/reset-password?scheme=blind#" in text
    assert [(r.status_code, r.json()["code"]) for r in (without_consent, with_plain_password)] == [
        (409, "vault_loss_unconfirmed"),
        (409, "blind_for_good"),
    ]
    assert (
        post_auth(
            Client(),
            "login",
            {"email": ZERO_KNOWLEDGE_EMAIL, "auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]},
        ).status_code
        == 200
    )

    reset = post_auth(
        Client(), "password/reset", {"token": token_in_mail(text), **new, "accept_vault_loss": True}
    )

    assert reset.status_code == 204
    assert (
        post_auth(
            Client(), "login", {"email": ZERO_KNOWLEDGE_EMAIL, "auth_hash": new["auth_hash"]}
        ).status_code
        == 200
    )


def test_reset_password_refuses_fewer_iterations():
    sign_up_zero_knowledge(**zero_knowledge_fields(PASSWORD, iterations=700_000))
    token = token_in_mail(reset_token())

    fewer_iterations = post_auth(
        Client(),
        "password/reset",
        {"token": token, **zero_knowledge_fields("new"), "accept_vault_loss": True},
    )
    same_iterations = post_auth(
        Client(),
        "password/reset",
        {"token": token, **zero_knowledge_fields("new", iterations=700_000), "accept_vault_loss": True},
    )

    assert (
        fewer_iterations.status_code,
        fewer_iterations.json()["code"],
        fewer_iterations.json()["iterations"],
    ) == (
        409,
        "kdf_lowered",
        700_000,
    )
    assert same_iterations.status_code == 204


def test_set_roles_change_role_and_create_admin_refuse_zero_knowledge_staff(
    zero_knowledge_account, password_hash, monkeypatch
):
    admin = sign_in(UserFactory(password=password_hash, role="admin"))
    custom_role = Role.objects.create(name="helpers", permissions=[])
    zero_knowledge_account.user.roles.add(custom_role)

    set_roles_response = admin.put(
        f"users/{zero_knowledge_account.user.pk}/roles", {"roles": ["support"]}, if_match="*"
    )
    change_role_response = admin.put(
        f"roles/{custom_role.pk}", {"name": "helpers", "permissions": ["admin.access"]}, if_match="*"
    )

    assert [(r.status_code, r.json()["code"]) for r in (set_roles_response, change_role_response)] == [
        (409, "blind_staff")
    ] * 2
    monkeypatch.setenv("ADMIN_PASSWORD", "quite another long phrase")
    with pytest.raises(CommandError, match="zero-knowledge"):
        call_command("create_admin", ZERO_KNOWLEDGE_EMAIL)
    assert not User.objects.alive().get(email=ZERO_KNOWLEDGE_EMAIL).is_staff


def test_change_password_and_reset_password_refuse_zero_knowledge_for_staff(password_hash):
    staff = UserFactory(password=password_hash, role="support")
    change_response = sign_in(staff).post(
        "auth/password/change", {"current_password": PASSWORD, **zero_knowledge_fields("another one")}
    )
    text = reset_token(staff.email)
    reset_response = post_auth(
        Client(), "password/reset", {"token": token_in_mail(text), **zero_knowledge_fields("another one")}
    )

    assert [(r.status_code, r.json()["code"]) for r in (change_response, reset_response)] == [
        (409, "blind_staff")
    ] * 2


def test_login_stores_neither_password_nor_auth_hash(zero_knowledge_account: ApiClient):
    """Search all columns of all tables for the secrets."""
    zero_knowledge_account.post("auth/reauthenticate", {"auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]})
    post_auth(
        Client(),
        "login",
        {"email": ZERO_KNOWLEDGE_EMAIL, "auth_hash": ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"]},
    )
    raw = base64.b64decode(ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"])
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE ANY(%s)',
                [
                    [
                        f"%{needle}%"
                        for needle in (PASSWORD, ZERO_KNOWLEDGE_CREDENTIALS["auth_hash"], raw.hex())
                    ]
                ],
            )
            assert cursor.fetchone()[0] == 0, table
