"""Blind sign-in: what the server asks for, what it answers to whom, and that it never sees the password."""

import base64
import os
import secrets
from collections import Counter

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.utils import timezone

from accounts.credentials import zero_knowledge as server
from accounts.models import Kdf, Role, User
from accounts.services import users
from accounts.tests.calls import auth_hash, blind, link_token, mails_to, post
from accounts.tests.factories import UserFactory
from audit import actors
from audit.models import Entry
from conftest import PASSWORD, ApiClient, sign_in
from core.storage import cache

pytestmark = pytest.mark.django_db
SECRET = blind(PASSWORD)
EMAIL = "blind@example.com"


def sign_up(**fields):
    return post(Client(), "register", {"email": EMAIL, "name": "Blind", **SECRET, **fields})


def ask(email=EMAIL):
    cache.clear("shared", "prelogin")
    return post(Client(), "prelogin", {"email": email})


@pytest.fixture
def account():
    assert sign_up().status_code == 201
    return sign_in(User.objects.alive().get(email=EMAIL))


def test_a_blind_account_signs_up_and_in_with_what_its_client_derived(settings):
    made = sign_up()
    told = ask().json()
    salt = base64.b64decode(told["salt"])
    login = post(
        Client(), "login", {"email": EMAIL, "auth_hash": auth_hash(PASSWORD, salt, told["kdf"]["iterations"])}
    )

    assert (made.status_code, made.json()["user"]["scheme"]) == (201, "blind")
    assert told == {"scheme": "blind", "kdf": SECRET["kdf"], "salt": SECRET["salt"]}
    assert login.status_code == 200, login.content
    assert User.objects.alive().get(email=EMAIL).password.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_blind_sign_up_is_confirmed_by_mail_like_any_other(settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True

    assert sign_up().status_code == 202
    confirmed = post(Client(), "email/verify", {"token": link_token(mails_to(EMAIL)[0])})

    assert (confirmed.status_code, confirmed.json()["user"]["scheme"]) == (200, "blind")
    assert post(Client(), "login", {"email": EMAIL, "auth_hash": SECRET["auth_hash"]}).status_code == 200


@pytest.mark.parametrize("stranger", [None, PASSWORD])
def test_of_two_blind_sign_ups_for_one_address_neither_is_taken(settings, stranger):
    settings.EMAIL_VERIFICATION_REQUIRED = True
    post(
        Client(),
        "register",
        {"email": EMAIL, "password": stranger} if stranger else {"email": EMAIL, **blind("x y")},
    )
    sign_up()

    confirmed = post(Client(), "email/verify", {"token": link_token(mails_to(EMAIL)[-1])})

    assert (confirmed.status_code, confirmed.json()["user"]["scheme"]) == (200, "password")
    assert post(Client(), "login", {"email": EMAIL, "auth_hash": SECRET["auth_hash"]}).status_code == 401


def b64(count):
    return base64.b64encode(os.urandom(count)).decode()


@pytest.mark.parametrize(
    ("fields", "pointers"),
    [
        ({"kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 599_999}}, ["/kdf/iterations"]),
        ({"kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 10_000_001}}, ["/kdf/iterations"]),
        ({"kdf": {"algorithm": "PBKDF2-SHA1", "iterations": 600_000}}, ["/kdf/algorithm"]),
        ({"kdf": {"algorithm": "PBKDF2-SHA256", "iterations": 600_000, "memory": 1}}, ["/kdf/memory"]),
        ({"kdf": None}, ["/kdf"]),
        ({"salt": b64(15)}, ["/salt"]),
        ({"salt": b64(65)}, ["/salt"]),
        ({"salt": "not base64!"}, ["/salt"]),
        ({"salt": b64(16).rstrip("=")}, ["/salt"]),
        ({"auth_hash": b64(31)}, ["/auth_hash"]),
        ({"auth_hash": b64(33)}, ["/auth_hash"]),
        ({"auth_hash": PASSWORD}, ["/auth_hash"]),
        ({"password": PASSWORD}, ["/password"]),
        ({"scheme": "password"}, ["/auth_hash", "/kdf", "/password", "/salt"]),
        ({"scheme": "srp"}, ["/scheme"]),
    ],
)
def test_what_is_weak_or_malformed_is_refused_with_its_place(fields, pointers):
    refused = sign_up(**fields)

    assert refused.status_code == 400
    assert sorted(error["pointer"] for error in refused.json()["errors"]) == pointers
    assert not User.objects.get_queryset().filter(email=EMAIL).exists()


def test_neither_scheme_opens_an_account_of_the_other(account, member):
    as_password = {"email": EMAIL, "password": SECRET["auth_hash"]}
    as_hash = {"email": member.email, "auth_hash": blind(PASSWORD)["auth_hash"]}
    users.set_password(member.pk, SECRET["auth_hash"], actor=actors.SYSTEM, now=timezone.now())
    the_very_same = {"email": member.email, "auth_hash": SECRET["auth_hash"]}

    answers = [post(Client(), "login", body) for body in (as_password, as_hash, the_very_same)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (401, "invalid_credentials")
    ] * 3


@pytest.mark.parametrize("body", [{}, {"password": PASSWORD, "auth_hash": SECRET["auth_hash"]}])
def test_a_sign_in_has_one_secret(body):
    refused = post(Client(), "login", {"email": EMAIL, **body})

    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "exactly_one")


def test_the_database_holds_a_blind_account_to_its_parameters(account):
    for change in (
        {"kdf_iterations": None},
        {"kdf_salt": None},
        {"kdf_iterations": 599_999},
        {"kdf_salt": b"short"},
        {"scheme": "password"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            User.objects.get_queryset().filter(email=EMAIL).update(**change)


# --- prelogin
# --------------------------------------------------------------------------------------------------------


def test_an_unknown_address_gets_the_same_answer_each_time_in_any_spelling(account):
    answers = {
        ask(spelling).content
        for spelling in ("nobody@example.com", "Nobody@Example.COM ", "nobody@EXAMPLE.com")
    }

    assert len(answers) == 1
    assert ask("nobody2@example.com").content not in answers


def test_the_invented_answers_follow_the_secret_key_and_nothing_else(account, settings):
    before = ask("nobody@example.com").json()["salt"]
    settings.SECRET_KEY = secrets.token_urlsafe(48)

    assert ask("nobody@example.com").json()["salt"] != before


def people(count, *, start=0):
    """Accounts of all kinds: a third signs in by password, the others blind, in three looks."""
    looks = [None] * 3 + [(600_000, 16)] * 3 + [(600_000, 32)] + [(1_000_000, 16)] * 2
    made = []
    for number in range(start, start + count):
        user = User(email=f"known{number}@example.com", password="!")
        look = looks[number % len(looks)]
        user.kdf = Kdf(look[0], os.urandom(look[1])) if look else None
        made.append(user)
    User.objects.bulk_create(made)


def looks_of(answers):
    return Counter((answer.scheme, answer.kdf.iterations, len(answer.kdf.salt)) for answer in answers)


def test_known_and_unknown_addresses_get_answers_of_one_shape():
    people(20)
    known = [post(Client(), "prelogin", {"email": f"known{number}@example.com"}) for number in range(20)]
    unknown = [post(Client(), "prelogin", {"email": f"unknown{number}@example.com"}) for number in range(20)]

    assert {answer.status_code for answer in known + unknown} == {200}
    assert len({tuple(sorted(answer.headers)) for answer in known + unknown}) == 1
    assert {tuple(answer.json()) for answer in known + unknown} == {("scheme", "kdf", "salt")}


def invented(count):
    """The answers for addresses without an account, by the shares of the accounts of now."""
    cache.clear("shared", "prelogin")
    return [server.prelogin(f"unknown{number}@example.com") for number in range(count)]


def test_500_known_and_500_unknown_addresses_look_alike():
    people(500)
    cache.clear("shared", "prelogin")
    known = [server.prelogin(f"known{number}@example.com") for number in range(500)]
    unknown = [server.prelogin(f"unknown{number}@example.com") for number in range(500)]

    for answers in (known, unknown):
        assert len({answer.kdf.salt for answer in answers}) == 500
    mine = looks_of(known)
    theirs = looks_of(unknown)
    assert mine.keys() == theirs.keys()
    # 500 draws of each kind: four standard deviations of a share, and the rounding of the weights (at most 2
    # ** 0.25)
    for look, count in mine.items():
        spread = 4 * (500 * (count / 500) * (1 - count / 500) * 2) ** 0.5
        assert abs(theirs[look] - count) < spread + count * 0.19, (look, count, theirs[look])
    bits = [
        sum(byte.bit_count() for answer in answers for byte in answer.kdf.salt[:16]) / (500 * 128)
        for answers in (known, unknown)
    ]
    assert all(abs(share - 0.5) < 0.01 for share in bits), bits


def test_more_accounts_of_the_same_kinds_move_few_invented_answers():
    people(450)
    before = invented(100)
    people(450, start=450)
    after = invented(100)

    assert before == after


def test_where_addresses_are_verified_nobody_moves_answers_with_accounts_that_are_not(settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True
    people(50)
    User.objects.get_queryset().update(email_verified_at=timezone.now())
    before = invented(50)
    people(500, start=50)

    assert invented(50) == before


def test_rare_looks_are_not_invented(account):
    people(300)
    User.objects.filter(email=EMAIL).update(kdf_iterations=654_321)

    assert ask().json()["kdf"]["iterations"] == 654_321
    cache.clear("shared", "prelogin")
    assert 654_321 not in {row[1] for row in server.profile_distribution()}
    User.objects.bulk_create(
        User(
            email=f"l{n}@example.com",
            password="!",
            scheme="blind",
            kdf_iterations=600_001 + n % 40,
            kdf_salt=b"s" * 16,
        )
        for n in range(4000)
    )
    assert len(server.profile_distribution()) <= server.MOST_LOOKS


@pytest.mark.parametrize(("percent", "share"), [(0, 0), (100, 200), (40, 80)])
def test_an_operator_may_fix_the_share(settings, account, percent, share):
    settings.PRELOGIN_BLIND_PERCENT = percent
    answers = invented(200)

    assert abs(sum(answer.scheme == "blind" for answer in answers) - share) <= (
        0 if percent in {0, 100} else 28
    )


def test_an_answer_that_moves_brings_a_salt_of_its_own(account):
    settled = {email: ask(email).json() for email in (f"unknown{n}@example.com" for n in range(20))}
    for number in range(100):
        UserFactory(email=f"more{number}@example.com")
    moved = {
        email: ask(email).json()
        for email in settled
        if ask(email).json()["scheme"] != settled[email]["scheme"]
    }

    assert moved
    assert not [email for email, told in moved.items() if told["salt"] == settled[email]["salt"]]


def test_prelogin_asks_the_database_once_for_anybody(account, django_assert_num_queries):
    ask()
    for email in (EMAIL, "nobody@example.com"):
        with django_assert_num_queries(1):
            post(Client(), "prelogin", {"email": email})


def test_prelogin_answers_where_there_is_no_account_at_all():
    cache.clear("shared", "prelogin")

    assert server.prelogin("nobody@example.com").scheme == "password"


def test_closing_an_account_does_not_show_at_prelogin(account):
    before = ask().content
    account.delete("auth/me", if_match="*")

    assert ask().content == before


# --- proving again, changing, resetting
# ------------------------------------------------------------------------------


def test_a_blind_account_proves_again_with_its_hash(account):
    assert account.post("auth/reauthenticate", {"auth_hash": SECRET["auth_hash"]}).status_code == 204
    assert (
        account.post("auth/reauthenticate", {"auth_hash": auth_hash("wrong", b"x" * 16)}).status_code == 401
    )
    assert account.post("auth/reauthenticate", {"password": SECRET["auth_hash"]}).status_code == 401


def test_a_new_password_of_a_blind_account_takes_the_old_hash(account):
    new = blind("a new long phrase", salt=os.urandom(32), iterations=700_000)
    wrong = account.post("auth/password/change", {"current_auth_hash": new["auth_hash"], **new})
    changed = account.post("auth/password/change", {"current_auth_hash": SECRET["auth_hash"], **new})

    assert (wrong.status_code, changed.status_code) == (401, 200)
    assert ask().json() == {"scheme": "blind", "kdf": new["kdf"], "salt": new["salt"]}
    facts = Entry.objects.filter(event="user.password_changed").latest("id").facts
    assert '"kdf_iterations": [600000, 700000]' in facts


def test_a_blind_account_stays_blind(account):
    body = {"current_auth_hash": SECRET["auth_hash"], "password": "a password in the clear"}
    refused = account.post("auth/password/change", body)

    assert (refused.status_code, refused.json()["code"]) == (409, "blind_for_good")
    assert ask().json()["scheme"] == "blind"


def test_an_account_with_a_password_becomes_blind(member):
    changed = sign_in(member).post(
        "auth/password/change", {"current_password": PASSWORD, **blind("another one")}
    )

    assert (changed.status_code, changed.json()["user"]["scheme"]) == (200, "blind")
    assert ask(member.email).json()["scheme"] == "blind"


def reset_token(email=EMAIL):
    post(Client(), "password/forgot", {"email": email})
    return mails_to(email)[-1]


def test_resetting_a_blind_account_says_what_is_lost_before_anything_is(account):
    text = reset_token()
    new = blind("a new long phrase")
    unsaid = post(Client(), "password/reset", {"token": link_token(text), **new})
    in_the_clear = post(
        Client(),
        "password/reset",
        {"token": link_token(text), "password": "some long phrase", "accept_vault_loss": True},
    )
    assert "lost for good" in text
    assert "/reset-password?scheme=blind#" in text
    assert [(r.status_code, r.json()["code"]) for r in (unsaid, in_the_clear)] == [
        (409, "vault_loss_unconfirmed"),
        (409, "blind_for_good"),
    ]
    assert post(Client(), "login", {"email": EMAIL, "auth_hash": SECRET["auth_hash"]}).status_code == 200

    done = post(Client(), "password/reset", {"token": link_token(text), **new, "accept_vault_loss": True})

    assert done.status_code == 204
    assert post(Client(), "login", {"email": EMAIL, "auth_hash": new["auth_hash"]}).status_code == 200


def test_a_mailed_link_does_not_lower_the_iterations():
    sign_up(**blind(PASSWORD, iterations=700_000))
    token = link_token(reset_token())

    lowered = post(Client(), "password/reset", {"token": token, **blind("new"), "accept_vault_loss": True})
    kept = post(
        Client(),
        "password/reset",
        {"token": token, **blind("new", iterations=700_000), "accept_vault_loss": True},
    )

    assert (lowered.status_code, lowered.json()["code"], lowered.json()["iterations"]) == (
        409,
        "kdf_lowered",
        700_000,
    )
    assert kept.status_code == 204


# --- staff
# -----------------------------------------------------------------------------------------------------------


def test_a_blind_account_never_becomes_staff(account, password_hash, monkeypatch):
    admin = sign_in(UserFactory(password=password_hash, role="admin"))
    own = Role.objects.create(name="helpers", permissions=[])
    account.user.roles.add(own)

    given = admin.put(f"users/{account.user.pk}/roles", {"roles": ["support"]}, if_match="*")
    raised = admin.put(f"roles/{own.pk}", {"name": "helpers", "permissions": ["admin.access"]}, if_match="*")

    assert [(r.status_code, r.json()["code"]) for r in (given, raised)] == [(409, "blind_staff")] * 2
    monkeypatch.setenv("ADMIN_PASSWORD", "quite another long phrase")
    with pytest.raises(CommandError, match="blind"):
        call_command("create_admin", EMAIL)
    assert not User.objects.alive().get(email=EMAIL).is_staff


def test_staff_never_become_blind(password_hash):
    staff = UserFactory(password=password_hash, role="support")
    refused = sign_in(staff).post(
        "auth/password/change", {"current_password": PASSWORD, **blind("another one")}
    )
    text = reset_token(staff.email)
    also = post(Client(), "password/reset", {"token": link_token(text), **blind("another one")})

    assert [(r.status_code, r.json()["code"]) for r in (refused, also)] == [(409, "blind_staff")] * 2


def test_no_table_has_the_password_or_what_is_sent(account: ApiClient):
    """The canary: everything that went in, searched in every column of every table."""
    account.post("auth/reauthenticate", {"auth_hash": SECRET["auth_hash"]})
    post(Client(), "login", {"email": EMAIL, "auth_hash": SECRET["auth_hash"]})
    raw = base64.b64decode(SECRET["auth_hash"])
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(
                f'SELECT count(*) FROM "{table}" t WHERE t::text LIKE ANY(%s)',
                [[f"%{needle}%" for needle in (PASSWORD, SECRET["auth_hash"], raw.hex())]],
            )
            assert cursor.fetchone()[0] == 0, table
