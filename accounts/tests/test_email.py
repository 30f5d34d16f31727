"""Proofs by mail: sign-up, confirmation, change of address, forgotten password."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import refresh_token
from accounts.models import ApiKey, EmailProof, Passkey, Session, User
from accounts.services import email_links
from accounts.services.email_links import token_of
from accounts.tests.calls import link_token, mails_to, post, subject
from accounts.tests.factories import UserFactory
from conftest import PASSWORD, sign_in
from core.models import Mail
from tests.operations import new_world

pytestmark = pytest.mark.django_db
NEW = "an entirely new phrase"


@pytest.fixture
def verification(settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True


def register(email="new@example.com", **others):
    return post(Client(), "register", {"email": email, "password": PASSWORD, **others})


def verify(token):
    return post(Client(), "email/verify", {"token": token})


def test_with_required_verification_the_account_exists_once_the_link_was_opened(verification):
    answer = register(name="New", age=30)

    assert (answer.status_code, User.objects.count(), answer.cookies) == (202, 0, {})
    (mail,) = mails_to("new@example.com")
    assert subject(mail) == "Confirm your address to finish signing up"
    signed_in = verify(link_token(mail))
    user = User.objects.get(email="new@example.com")
    assert (signed_in.status_code, signed_in.json()["user"]["id"]) == (200, str(user.pk))
    assert (user.name, user.age, signed_in.json()["user"]["email_verified"]) == ("New", 30, True)
    assert post(Client(), "login", {"email": user.email, "password": PASSWORD}).status_code == 200


def test_config_says_which_mode_is_on(verification):
    assert Client().get("/api/v1/config").json()["email_verification"] == "required"


def test_known_and_unknown_addresses_get_the_same_answers(verification, member):
    for path, extra in [
        ("register", {"password": PASSWORD}),
        ("email/resend", {}),
        ("password/forgot", {}),
        ("login", {"password": "wrong password"}),
    ]:
        known, unknown = (
            post(Client(), path, {"email": email, **extra}) for email in (member.email, "unknown@example.com")
        )
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content), path
        assert known.cookies == unknown.cookies == {}


@pytest.mark.parametrize("path", ["register", "email/resend", "password/forgot"])
def test_known_and_unknown_addresses_cost_the_same_statements(
    verification, member, path, django_assert_num_queries
):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    body = {"password": PASSWORD} if path == "register" else {}
    counts = []
    for email in (member.email, "unknown@example.com"):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            post(Client(), path, {"email": email, **body})
        counts.append([query["sql"].split(" ")[0] for query in asked])

    assert counts[0] == counts[1] != []


def test_whoever_signs_up_twice_is_told_by_mail_alone(verification, member):
    register(member.email)

    (mail,) = mails_to(member.email)
    assert subject(mail) == "You already have an account"
    assert User.objects.count() == 1
    proof = EmailProof.objects.get()
    assert proof.details == "{}"


@pytest.mark.parametrize("opened", [0, 1])
def test_where_a_stranger_signed_up_too_nobodys_typed_password_opens_the_account(verification, opened):
    """The mailbox decides: whichever link is opened, its owner chooses a password by another one."""
    post(Client(), "register", {"email": "victim@example.com", "password": "password of a stranger"})
    register("victim@example.com")
    tokens = [link_token(mail) for mail in mails_to("victim@example.com")]

    assert [verify(tokens[opened]).status_code, verify(tokens[1 - opened]).json()["code"]] == [
        200,
        "link_refused",
    ]

    tries = [
        {"email": "victim@example.com", "password": word} for word in (PASSWORD, "password of a stranger")
    ]
    assert [post(Client(), "login", body).status_code for body in tries] == [401, 401]
    reset = {"token": link_token(mails_to("victim@example.com")[-1]), "password": NEW}
    assert post(Client(), "password/reset", reset).status_code == 204


def test_what_a_stranger_made_before_the_address_was_proved_goes_with_a_reset(password_hash):
    world = new_world(password_hash, role="user")
    world.passkey()
    key = world.key()["key"]
    post(Client(), "password/forgot", {"email": world.api.user.email})
    token = link_token(mails_to(world.api.user.email)[-1])

    post(Client(), "password/reset", {"token": token, "password": NEW})

    assert ApiKey.objects.filter(revoked_at=None).count() == Passkey.objects.count() == 0
    assert Client().get("/api/v1/sites", headers={"Authorization": f"Bearer {key}"}).status_code == 401
    assert post(Client(), "login", {"email": world.api.user.email, "password": NEW}).status_code == 200


def test_asking_for_one_kind_of_mail_does_not_use_up_another(member):
    for _ in range(9):
        post(Client(), "email/resend", {"email": member.email})
    mails_to(member.email)
    post(Client(), "password/forgot", {"email": member.email})

    assert subject(mails_to(member.email)[-1]) == "Choose a new password"


@pytest.mark.parametrize("kind", ["sign_up", "reset"])
@pytest.mark.commits
def test_a_link_works_once_also_for_twenty_at_the_same_time(verification, member, kind):
    register() if kind == "sign_up" else post(Client(), "password/forgot", {"email": member.email})
    (mail,) = mails_to("new@example.com" if kind == "sign_up" else member.email)
    token = link_token(mail)

    def use(number):
        try:
            if kind == "sign_up":
                return verify(token).status_code
            return post(
                Client(), "password/reset", {"token": token, "password": f"{NEW} {number}"}
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(use, range(20)))

    assert statuses in ([200] + [400] * 19, [204] + [400] * 19)


@pytest.mark.parametrize(
    ("purpose", "lasts"),
    [("sign_up", timedelta(hours=24)), ("reset", timedelta(minutes=30)), ("change", timedelta(hours=1))],
)
def test_a_link_is_too_old_after_its_time(member, purpose, lasts):
    long_ago = timezone.now() - lasts
    {
        "sign_up": lambda: email_links.request_sign_up(
            email="new@example.com", password=PASSWORD, now=long_ago
        ),
        "reset": lambda: email_links.request_reset(member.email, now=long_ago),
        "change": lambda: email_links.request_change(member, "new@example.com", now=long_ago),
    }[purpose]()
    token = token_of(EmailProof.objects.latest("id"))
    email_links.mail_proofs(now=long_ago)

    path, body = ("password/reset", {"password": NEW}) if purpose == "reset" else ("email/verify", {})
    assert post(Client(), path, {"token": token, **body}).json()["code"] == "link_refused"
    EmailProof.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    assert post(Client(), path, {"token": token, **body}).status_code in {200, 204}


@pytest.mark.parametrize("token", ["", "x", "." * 200, "ü" * 20, "0" * 32 + "." + "0" * 64, "\u0000"])
def test_tokens_that_we_did_not_make_are_refused(token):
    assert verify(token).status_code == 400


def test_a_link_for_one_purpose_is_none_for_another(member):
    post(Client(), "password/forgot", {"email": member.email})
    (mail,) = mails_to(member.email)

    assert verify(link_token(mail)).json()["code"] == "link_refused"
    answer = post(Client(), "password/reset", {"token": link_token(mail), "password": NEW})
    assert answer.status_code == 204


def test_the_address_changes_once_the_new_one_confirmed_and_the_old_one_is_told(api, password_hash):
    old = api.user.email
    asked = api.post("auth/email/change", {"email": "Moved@Example.com"})
    assert (asked.status_code, User.objects.get(pk=api.user.pk).email) == (202, old)

    assert [subject(mail) for mail in mails_to(old)] == [
        "Someone asked to change the address of your account"
    ]
    (mail,) = mails_to("moved@example.com")
    assert verify(link_token(mail)).status_code == 204

    me = api.get("auth/me").json()
    assert (me["email"], me["email_verified"]) == ("moved@example.com", True)
    assert subject(mails_to(old)[-1]) == "The address of your account was changed"
    assert verify(link_token(mail)).json()["code"] == "link_refused"


def test_nobody_can_move_to_an_address_that_is_taken_and_is_not_told_so(api, member):
    taken = api.post("auth/email/change", {"email": member.email})
    free = api.post("auth/email/change", {"email": "free@example.com"})

    assert (taken.status_code, taken.content) == (free.status_code, free.content)
    assert [subject(mail) for mail in mails_to(member.email)] == [
        "This address belongs to an account already"
    ]


def test_an_address_that_was_taken_meanwhile_stays_with_who_has_it(api):
    api.post("auth/email/change", {"email": "wanted@example.com"})
    (mail,) = mails_to("wanted@example.com")
    UserFactory(email="wanted@example.com")

    assert verify(link_token(mail)).json()["code"] == "link_refused"
    assert User.objects.get(pk=api.user.pk).email != "wanted@example.com"


def test_resend_mails_the_open_link_again(verification, settings):
    register()
    first = mails_to("new@example.com")

    post(Client(), "email/resend", {"email": "new@example.com"})

    both = [link_token(mail) for mail in mails_to("new@example.com")]
    assert both == [link_token(first[0])] * 2


def test_with_optional_verification_one_is_signed_in_and_confirms_later(settings):
    signed_in = register()
    (mail,) = mails_to("new@example.com")

    assert signed_in.status_code == 201
    assert signed_in.json()["user"]["email_verified"] is False
    confirmed = verify(link_token(mail))
    assert (confirmed.status_code, confirmed.content, confirmed.cookies) == (204, b"", {})
    assert User.objects.get(email="new@example.com").email_verified_at


def test_an_unconfirmed_account_waits_when_verification_becomes_required(member, settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True

    answer = post(Client(), "login", {"email": member.email, "password": PASSWORD})

    assert (answer.status_code, answer.json()["code"], answer.cookies) == (403, "email_unverified", {})
    assert verify(link_token(mails_to(member.email)[0])).status_code == 204
    assert post(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 200


def test_what_a_mail_says_is_unreadable_in_the_database_and_gone_once_sent(member):
    from django.db import connection

    post(Client(), "password/forgot", {"email": member.email})
    email_links.mail_proofs(now=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("SELECT encode(facts, 'escape') FROM core_mail")
        stored = cursor.fetchall()
    (mail,) = mails_to(member.email)

    assert len(stored) == 1
    assert link_token(mail) not in stored[0][0]
    assert [(row.state, row.facts, row.to) for row in Mail.objects.all()] == [("done", "{}", member.email)]


def test_a_mail_that_would_come_too_late_is_not_sent(member):
    long_ago = timezone.now() - timedelta(hours=1)
    email_links.request_reset(member.email, now=long_ago)
    email_links.mail_proofs(now=long_ago)

    assert mails_to(member.email) == []
    assert [(row.state, row.error, row.facts) for row in Mail.objects.all()] == [("dead", "too late", "{}")]


def test_old_links_and_challenges_are_forgotten(member):
    email_links.request_reset(member.email, now=timezone.now() - timedelta(days=3))
    email_links.request_reset(member.email, now=timezone.now())

    assert email_links.delete_expired_proofs(now=timezone.now()) == 1
    assert EmailProof.objects.count() == 1


def test_a_sign_in_on_another_device_is_told_and_on_a_known_one_not(member):
    browser = Client()
    stranger = Client(
        headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}
    )
    body = {"email": member.email, "password": PASSWORD}
    post(browser, "login", body)
    post(browser, "login", body)
    assert mails_to(member.email) == []

    post(stranger, "login", body)

    (mail,) = mails_to(member.email)
    assert subject(mail) == "New sign-in to your account"
    assert "Firefox on Linux, from 127.0.0.0/24" in mail


def test_a_replayed_refresh_token_is_told(member):
    session = sign_in(member).session
    Session.objects.filter(pk=session.pk).update(generation=5)

    browser = Client()
    browser.cookies["refresh"] = refresh_token(session.pk, 2)
    post(browser, "refresh", **{"X-Requested-With": "fetch", "Origin": "http://localhost:3000"})

    assert [subject(mail) for mail in mails_to(member.email)] == ["We ended a session of yours to be safe"]
