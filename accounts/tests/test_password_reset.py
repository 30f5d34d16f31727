"""Forgotten passwords, and what a reset ends."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts.credentials import known_devices
from accounts.errors import CredentialsRefused
from accounts.models import EmailProof, Session, User
from accounts.services import sessions, users
from accounts.services.email_links import token_of
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail, token_in_mail
from audit.actors import SYSTEM
from conftest import sign_in

pytestmark = pytest.mark.django_db
NEW = "an entirely new phrase"


def verify(token):
    return post_auth(Client(), "email/verify", {"token": token})


def test_a_reset_ends_requests_that_no_worker_has_seen(member):
    post_auth(Client(), "password/forgot", {"email": member.email})
    first = token_in_mail(deliver_and_read_mails(member.email)[0])
    post_auth(Client(), "password/forgot", {"email": member.email})
    late = token_of(EmailProof.objects.latest("id"))

    post_auth(Client(), "password/reset", {"token": first, "password": NEW})
    deliver_and_read_mails(member.email)

    assert (
        post_auth(Client(), "password/reset", {"token": late, "password": NEW}).json()["code"]
        == "link_refused"
    )


@pytest.mark.commits
def test_two_links_at_the_same_time_are_one_success_and_no_deadlock(member):
    for _ in range(2):
        post_auth(Client(), "password/forgot", {"email": member.email})
    tokens = [token_in_mail(mail) for mail in deliver_and_read_mails(member.email)]

    def use(token):
        try:
            return post_auth(Client(), "password/reset", {"token": token, "password": NEW}).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(use, tokens)) == [204, 400]


def test_a_sign_in_that_a_reset_overtook_opens_nothing(member):
    """As when the password is replaced while the old one is being hashed."""
    proved = User.objects.get(pk=member.pk)
    users.set_password(member.pk, NEW, actor=SYSTEM, now=timezone.now())

    with pytest.raises(CredentialsRefused):
        sessions.open_session(proved, device=known_devices.Device(), now=timezone.now())

    assert Session.objects.filter(user=member, revoked_at=None).count() == 0


def test_a_reset_ends_every_session_and_every_other_link_and_is_told(member):
    session = sign_in(member)
    for _ in range(2):
        post_auth(Client(), "password/forgot", {"email": member.email})
    first, second = (token_in_mail(mail) for mail in deliver_and_read_mails(member.email))

    answer = post_auth(Client(), "password/reset", {"token": first, "password": NEW})

    assert answer.status_code == 204
    assert session.get("auth/me").json()["code"] == "token_revoked"
    assert Session.objects.live(now=timezone.now()).count() == 0
    assert (
        post_auth(Client(), "password/reset", {"token": second, "password": NEW}).json()["code"]
        == "link_refused"
    )
    assert subject_of_mail(deliver_and_read_mails(member.email)[-1]) == "Your password was changed"
    assert post_auth(Client(), "login", {"email": member.email, "password": NEW}).status_code == 200


def test_a_weak_password_leaves_the_link_good(member):
    post_auth(Client(), "password/forgot", {"email": member.email})
    token = token_in_mail(deliver_and_read_mails(member.email)[0])

    weak = post_auth(Client(), "password/reset", {"token": token, "password": "Member123"})

    assert (weak.status_code, weak.json()["errors"][0]["pointer"]) == (400, "/password")
    assert post_auth(Client(), "password/reset", {"token": token, "password": NEW}).status_code == 204


def test_a_reset_proves_the_address_and_needs_an_active_account(member, password_hash):
    post_auth(Client(), "password/forgot", {"email": member.email})
    post_auth(
        Client(),
        "password/reset",
        {"token": token_in_mail(deliver_and_read_mails(member.email)[0]), "password": NEW},
    )
    off = UserFactory(email="off@example.com", is_active=False)
    gone = UserFactory(email="gone@example.com", deleted_at=timezone.now())
    for user in (off, gone):
        post_auth(Client(), "password/forgot", {"email": user.email})

    assert User.objects.get(pk=member.pk).email_verified_at
    assert deliver_and_read_mails(off.email) + deliver_and_read_mails(gone.email) == []


def test_nobody_can_fill_a_mailbox_and_the_links_that_went_out_stay_good(member):
    for _ in range(12):
        post_auth(Client(), "password/forgot", {"email": member.email})

    mails = deliver_and_read_mails(member.email)

    assert len(mails) == 5
    assert (
        post_auth(Client(), "password/reset", {"token": token_in_mail(mails[0]), "password": NEW}).status_code
        == 204
    )


def test_a_reset_link_to_the_old_address_ends_with_the_move(api):
    old = api.user.email
    api.post("auth/email/change", {"email": "moved@example.com"})
    post_auth(Client(), "password/forgot", {"email": old})
    reset = token_in_mail(deliver_and_read_mails(old)[-1])
    verify(token_in_mail(deliver_and_read_mails("moved@example.com")[0]))

    assert (
        post_auth(Client(), "password/reset", {"token": reset, "password": NEW}).json()["code"]
        == "link_refused"
    )
