"""Mailed links: sign-up, verification, change of address, resending."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.test import Client
from django.utils import timezone

from accounts.credentials.tokens import make_refresh_token
from accounts.models import ApiKey, EmailProof, Passkey, Session, User
from accounts.services import email_links
from accounts.services.email_links import make_token
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail, token_in_mail
from conftest import PASSWORD, sign_in
from core.models import Mail
from tests.world import new_world

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "an entirely new phrase"


@pytest.fixture
def require_verification(settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True


def register(email="new@example.com", **fields):
    return post_auth(Client(), "register", {"email": email, "password": PASSWORD, **fields})


def verify(token):
    return post_auth(Client(), "email/verify", {"token": token})


def test_register_creates_the_account_when_the_link_is_opened(require_verification):
    response = register(name="New", age=30)

    assert (response.status_code, User.objects.count(), response.cookies) == (202, 0, {})
    (mail,) = deliver_and_read_mails("new@example.com")
    assert subject_of_mail(mail) == "Confirm your address to finish signing up"
    signed_in = verify(token_in_mail(mail))
    user = User.objects.get(email="new@example.com")
    assert (signed_in.status_code, signed_in.json()["user"]["id"]) == (200, str(user.pk))
    assert (user.name, user.age, signed_in.json()["user"]["email_verified"]) == ("New", 30, True)
    assert post_auth(Client(), "login", {"email": user.email, "password": PASSWORD}).status_code == 200


def test_config_shows_required_email_verification(require_verification):
    assert Client().get("/api/v1/config").json()["email_verification"] == "required"


def test_register_resend_forgot_and_login_answer_alike_with_and_without_an_account(
    require_verification, member
):
    for path, extra_fields in [
        ("register", {"password": PASSWORD}),
        ("email/resend", {}),
        ("password/forgot", {}),
        ("login", {"password": "wrong password"}),
    ]:
        known, unknown = (
            post_auth(Client(), path, {"email": email, **extra_fields})
            for email in (member.email, "unknown@example.com")
        )
        assert (known.status_code, known.content) == (unknown.status_code, unknown.content), path
        assert known.cookies == unknown.cookies == {}


@pytest.mark.parametrize("path", ["register", "email/resend", "password/forgot"])
def test_register_resend_and_forgot_run_the_same_statements_with_and_without_an_account(
    require_verification, member, path, django_assert_num_queries
):
    from django.test.utils import CaptureQueriesContext

    body = {"password": PASSWORD} if path == "register" else {}
    counts = []
    for email in (member.email, "unknown@example.com"):
        with CaptureQueriesContext(connection) as queries:
            post_auth(Client(), path, {"email": email, **body})
        counts.append([query["sql"].split(" ")[0] for query in queries])

    assert counts[0] == counts[1] != []


def test_register_mails_the_owner_of_an_existing_account(require_verification, member):
    register(member.email)

    (mail,) = deliver_and_read_mails(member.email)
    assert subject_of_mail(mail) == "You already have an account"
    assert User.objects.count() == 1
    proof = EmailProof.objects.get()
    assert proof.details == "{}"


@pytest.mark.parametrize("opened_index", [0, 1])
def test_confirm_email_discards_all_passwords_of_competing_sign_ups(require_verification, opened_index):
    """Whichever link is opened first, the owner of the mailbox gets another one to choose a password."""
    post_auth(Client(), "register", {"email": "victim@example.com", "password": "password of a stranger"})
    register("victim@example.com")
    tokens = [token_in_mail(mail) for mail in deliver_and_read_mails("victim@example.com")]

    assert [verify(tokens[opened_index]).status_code, verify(tokens[1 - opened_index]).json()["code"]] == [
        200,
        "link_refused",
    ]

    credentials = [
        {"email": "victim@example.com", "password": password}
        for password in (PASSWORD, "password of a stranger")
    ]
    assert [post_auth(Client(), "login", body).status_code for body in credentials] == [401, 401]
    reset = {
        "token": token_in_mail(deliver_and_read_mails("victim@example.com")[-1]),
        "password": NEW_PASSWORD,
    }
    assert post_auth(Client(), "password/reset", reset).status_code == 204


def test_reset_password_removes_credentials_added_before_verification(password_hash):
    world = new_world(password_hash, role="user")
    world.add_passkey()
    key = world.create_api_key()["key"]
    post_auth(Client(), "password/forgot", {"email": world.api.user.email})
    token = token_in_mail(deliver_and_read_mails(world.api.user.email)[-1])

    post_auth(Client(), "password/reset", {"token": token, "password": NEW_PASSWORD})

    assert ApiKey.objects.filter(revoked_at=None).count() == Passkey.objects.count() == 0
    assert Client().get("/api/v1/sites", headers={"Authorization": f"Bearer {key}"}).status_code == 401
    assert (
        post_auth(Client(), "login", {"email": world.api.user.email, "password": NEW_PASSWORD}).status_code
        == 200
    )


def test_mail_requested_links_limits_each_template_separately(member):
    for _ in range(9):
        post_auth(Client(), "email/resend", {"email": member.email})
    deliver_and_read_mails(member.email)
    post_auth(Client(), "password/forgot", {"email": member.email})

    assert subject_of_mail(deliver_and_read_mails(member.email)[-1]) == "Choose a new password"


@pytest.mark.parametrize("purpose_of_link", ["sign_up", "reset"])
@pytest.mark.commits
def test_confirm_email_and_reset_password_accept_a_link_once_in_parallel(
    require_verification, member, purpose_of_link
):
    register() if purpose_of_link == "sign_up" else post_auth(
        Client(), "password/forgot", {"email": member.email}
    )
    (mail,) = deliver_and_read_mails("new@example.com" if purpose_of_link == "sign_up" else member.email)
    token = token_in_mail(mail)

    def use_link(number):
        try:
            if purpose_of_link == "sign_up":
                return verify(token).status_code
            return post_auth(
                Client(), "password/reset", {"token": token, "password": f"{NEW_PASSWORD} {number}"}
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(use_link, range(20)))

    assert statuses in ([200] + [400] * 19, [204] + [400] * 19)


@pytest.mark.parametrize(
    ("purpose", "lifetime"),
    [("sign_up", timedelta(hours=24)), ("reset", timedelta(minutes=30)), ("change", timedelta(hours=1))],
)
def test_confirm_email_and_reset_password_refuse_an_expired_link(member, purpose, lifetime):
    long_ago = timezone.now() - lifetime
    {
        "sign_up": lambda: email_links.request_sign_up(
            email="new@example.com", password=PASSWORD, now=long_ago
        ),
        "reset": lambda: email_links.request_password_reset(member.email, now=long_ago),
        "change": lambda: email_links.request_email_change(member, "new@example.com", now=long_ago),
    }[purpose]()
    token = make_token(EmailProof.objects.latest("id"))
    email_links.mail_requested_links(now=timezone.now())

    path, body = (
        ("password/reset", {"password": NEW_PASSWORD}) if purpose == "reset" else ("email/verify", {})
    )
    assert post_auth(Client(), path, {"token": token, **body}).json()["code"] == "link_refused"
    EmailProof.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    assert post_auth(Client(), path, {"token": token, **body}).status_code in {200, 204}


@pytest.mark.parametrize("token", ["", "x", "." * 200, "ü" * 20, "0" * 32 + "." + "0" * 64, "\u0000"])
def test_confirm_email_refuses_forged_tokens(token):
    assert verify(token).status_code == 400


def test_confirm_email_refuses_a_reset_link(member):
    post_auth(Client(), "password/forgot", {"email": member.email})
    (mail,) = deliver_and_read_mails(member.email)

    assert verify(token_in_mail(mail)).json()["code"] == "link_refused"
    response = post_auth(Client(), "password/reset", {"token": token_in_mail(mail), "password": NEW_PASSWORD})
    assert response.status_code == 204


def test_change_email_takes_effect_when_the_new_address_confirms(api, password_hash):
    old = api.user.email
    queries = api.post("auth/email/change", {"email": "Moved@Example.com"})
    assert (queries.status_code, User.objects.get(pk=api.user.pk).email) == (202, old)

    assert [subject_of_mail(mail) for mail in deliver_and_read_mails(old)] == [
        "A change of the address of your account was requested"
    ]
    (mail,) = deliver_and_read_mails("moved@example.com")
    assert verify(token_in_mail(mail)).status_code == 204

    me = api.get("auth/me").json()
    assert (me["email"], me["email_verified"]) == ("moved@example.com", True)
    assert subject_of_mail(deliver_and_read_mails(old)[-1]) == "The address of your account was changed"
    assert verify(token_in_mail(mail)).json()["code"] == "link_refused"


def test_change_email_does_not_reveal_a_taken_address(api, member):
    taken = api.post("auth/email/change", {"email": member.email})
    free = api.post("auth/email/change", {"email": "free@example.com"})

    assert (taken.status_code, taken.content) == (free.status_code, free.content)
    assert [subject_of_mail(mail) for mail in deliver_and_read_mails(member.email)] == [
        "This address already belongs to an account"
    ]


def test_confirm_email_refuses_an_address_taken_meanwhile(api):
    api.post("auth/email/change", {"email": "wanted@example.com"})
    (mail,) = deliver_and_read_mails("wanted@example.com")
    UserFactory(email="wanted@example.com")

    assert verify(token_in_mail(mail)).json()["code"] == "link_refused"
    assert User.objects.get(pk=api.user.pk).email != "wanted@example.com"


def test_resend_mails_the_pending_link_again(require_verification, settings):
    register()
    first = deliver_and_read_mails("new@example.com")

    post_auth(Client(), "email/resend", {"email": "new@example.com"})

    both = [token_in_mail(mail) for mail in deliver_and_read_mails("new@example.com")]
    assert both == [token_in_mail(first[0])] * 2


def test_register_signs_in_before_confirm_email_when_verification_is_optional(settings):
    signed_in = register()
    (mail,) = deliver_and_read_mails("new@example.com")

    assert signed_in.status_code == 201
    assert signed_in.json()["user"]["email_verified"] is False
    confirmed = verify(token_in_mail(mail))
    assert (confirmed.status_code, confirmed.content, confirmed.cookies) == (204, b"", {})
    assert User.objects.get(email="new@example.com").email_verified_at


def test_login_refuses_an_unverified_account_when_verification_is_required(member, settings):
    settings.EMAIL_VERIFICATION_REQUIRED = True

    response = post_auth(Client(), "login", {"email": member.email, "password": PASSWORD})

    assert (response.status_code, response.json()["code"], response.cookies) == (403, "email_unverified", {})
    assert verify(token_in_mail(deliver_and_read_mails(member.email)[0])).status_code == 204
    assert post_auth(Client(), "login", {"email": member.email, "password": PASSWORD}).status_code == 200


def test_mail_requested_links_stores_mails_encrypted_and_deletes_their_content_when_sent(member):

    post_auth(Client(), "password/forgot", {"email": member.email})
    email_links.mail_requested_links(now=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("SELECT encode(context, 'escape') FROM core_mail")
        stored = cursor.fetchall()
    (mail,) = deliver_and_read_mails(member.email)

    assert len(stored) == 1
    assert token_in_mail(mail) not in stored[0][0]
    assert [(row.status, row.context, row.to) for row in Mail.objects.all()] == [("done", "{}", member.email)]


def test_mail_requested_links_sends_no_mail_with_an_expired_link(member):
    long_ago = timezone.now() - timedelta(hours=1)
    email_links.request_password_reset(member.email, now=long_ago)
    email_links.mail_requested_links(now=long_ago)

    assert deliver_and_read_mails(member.email) == []
    assert [(row.status, row.error, row.context) for row in Mail.objects.all()] == [
        ("dead", "too late", "{}")
    ]


def test_delete_expired_proofs_deletes_only_old_proofs(member):
    email_links.request_password_reset(member.email, now=timezone.now() - timedelta(days=3))
    email_links.request_password_reset(member.email, now=timezone.now())

    assert email_links.delete_expired_proofs(now=timezone.now()) == 1
    assert EmailProof.objects.count() == 1


def test_open_session_mails_the_owner_about_a_new_device_only(member):
    browser = Client()
    stranger = Client(
        headers={"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"}
    )
    body = {"email": member.email, "password": PASSWORD}
    post_auth(browser, "login", body)
    post_auth(browser, "login", body)
    assert deliver_and_read_mails(member.email) == []

    post_auth(stranger, "login", body)

    (mail,) = deliver_and_read_mails(member.email)
    assert subject_of_mail(mail) == "New sign-in to your account"
    assert "Firefox on Linux, from 127.0.0.0/24" in mail


def test_refresh_mails_the_owner_about_a_replayed_token(member):
    session = sign_in(member).session
    Session.objects.filter(pk=session.pk).update(generation=5)

    browser = Client()
    browser.cookies["refresh"] = make_refresh_token(session.pk, 2)
    post_auth(browser, "refresh", **{"X-Requested-With": "fetch", "Origin": "http://localhost:3000"})

    assert [subject_of_mail(mail) for mail in deliver_and_read_mails(member.email)] == [
        "We ended one of your sessions"
    ]
