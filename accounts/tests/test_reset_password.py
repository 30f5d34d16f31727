"""Password reset by a mailed link."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.credentials import known_devices
from accounts.errors import CredentialsRefused
from accounts.models import EmailProof, Session, User
from accounts.services import sessions, users
from accounts.services.email_links import make_token
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail, token_in_mail
from audit.actors import SYSTEM
from conftest import sign_in

pytestmark = pytest.mark.django_db
NEW_PASSWORD = "an entirely new phrase"


def verify(token):
    return post_auth(Client(), "email/verify", {"token": token})


def test_reset_password_expires_unprocessed_requests(member):
    post_auth(Client(), "password/forgot", {"email": member.email})
    first = token_in_mail(deliver_and_read_mails(member.email)[0])
    post_auth(Client(), "password/forgot", {"email": member.email})
    unprocessed_token = make_token(EmailProof.objects.latest("id"))

    post_auth(Client(), "password/reset", {"token": first, "password": NEW_PASSWORD})
    deliver_and_read_mails(member.email)

    assert (
        post_auth(Client(), "password/reset", {"token": unprocessed_token, "password": NEW_PASSWORD}).json()[
            "code"
        ]
        == "link_refused"
    )


@pytest.mark.commits
def test_reset_password_by_two_links_in_parallel_succeeds_once(member):
    for _ in range(2):
        post_auth(Client(), "password/forgot", {"email": member.email})
    tokens = [token_in_mail(mail) for mail in deliver_and_read_mails(member.email)]

    def use_link(token):
        try:
            return post_auth(
                Client(), "password/reset", {"token": token, "password": NEW_PASSWORD}
            ).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(use_link, tokens)) == [204, 400]


def test_open_session_refuses_a_user_whose_password_was_replaced(member):
    """As when the password is reset while the old one is being hashed."""
    stale_user = User.objects.get(pk=member.pk)
    users.set_password(member.pk, NEW_PASSWORD, actor=SYSTEM, now=timezone.now())

    with pytest.raises(CredentialsRefused):
        sessions.open_session(stale_user, device=known_devices.Device(), now=timezone.now())

    assert Session.objects.filter(user=member, revoked_at=None).count() == 0


def test_reset_password_ends_sessions_and_links_and_mails_the_owner(member):
    session = sign_in(member)
    for _ in range(2):
        post_auth(Client(), "password/forgot", {"email": member.email})
    first, second = (token_in_mail(mail) for mail in deliver_and_read_mails(member.email))

    response = post_auth(Client(), "password/reset", {"token": first, "password": NEW_PASSWORD})

    assert response.status_code == 204
    assert session.get("auth/me").json()["code"] == "token_revoked"
    assert Session.objects.live(now=timezone.now()).count() == 0
    assert (
        post_auth(Client(), "password/reset", {"token": second, "password": NEW_PASSWORD}).json()["code"]
        == "link_refused"
    )
    assert subject_of_mail(deliver_and_read_mails(member.email)[-1]) == "Your password was changed"
    assert post_auth(Client(), "login", {"email": member.email, "password": NEW_PASSWORD}).status_code == 200


def test_reset_password_keeps_the_link_after_a_weak_password(member):
    post_auth(Client(), "password/forgot", {"email": member.email})
    token = token_in_mail(deliver_and_read_mails(member.email)[0])

    refused = post_auth(Client(), "password/reset", {"token": token, "password": "Member123"})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (400, "/password")
    assert (
        post_auth(Client(), "password/reset", {"token": token, "password": NEW_PASSWORD}).status_code == 204
    )


def test_reset_password_verifies_the_address_and_requires_an_active_account(member, password_hash):
    post_auth(Client(), "password/forgot", {"email": member.email})
    post_auth(
        Client(),
        "password/reset",
        {"token": token_in_mail(deliver_and_read_mails(member.email)[0]), "password": NEW_PASSWORD},
    )
    disabled = UserFactory(email="off@example.com", is_active=False)
    deleted = UserFactory(email="gone@example.com", deleted_at=timezone.now())
    for user in (disabled, deleted):
        post_auth(Client(), "password/forgot", {"email": user.email})

    assert User.objects.get(pk=member.pk).email_verified_at
    assert deliver_and_read_mails(disabled.email) + deliver_and_read_mails(deleted.email) == []


def test_request_password_reset_limits_mails_and_keeps_earlier_links_valid(member):
    for _ in range(12):
        post_auth(Client(), "password/forgot", {"email": member.email})

    mails = deliver_and_read_mails(member.email)

    assert len(mails) == 5
    assert (
        post_auth(
            Client(), "password/reset", {"token": token_in_mail(mails[0]), "password": NEW_PASSWORD}
        ).status_code
        == 204
    )


def test_confirm_email_expires_reset_links_of_the_old_address(api):
    old_address = api.user.email
    api.post("auth/email/change", {"email": "moved@example.com"})
    post_auth(Client(), "password/forgot", {"email": old_address})
    reset = token_in_mail(deliver_and_read_mails(old_address)[-1])
    verify(token_in_mail(deliver_and_read_mails("moved@example.com")[0]))

    assert (
        post_auth(Client(), "password/reset", {"token": reset, "password": NEW_PASSWORD}).json()["code"]
        == "link_refused"
    )
