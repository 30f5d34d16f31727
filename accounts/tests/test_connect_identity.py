"""Connecting and disconnecting a provider account."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.credentials import oidc
from accounts.models import Identity
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail, token_in_mail
from accounts.tests.test_identities import sign_in_by_provider
from conftest import PASSWORD, sign_in
from core.errors import NotFound

pytestmark = pytest.mark.django_db


def connect(issuer, api):
    started = api.post("auth/providers/mock/options")
    return api.post("auth/providers/mock", issuer.authorize(started.json()["authorization_url"]))


def test_connect_identity_adds_a_sign_in_until_disconnect_identity(issuer, member):
    api = sign_in(member)
    issuer.configure(claims={"email": "elsewhere@example.com", "email_verified": False})

    created = connect(issuer, api)
    listed = api.get("auth/identities").json()["results"]
    sign_in_response = sign_in_by_provider(issuer)
    disconnected = api.delete(f"auth/identities/{created.json()['id']}")

    assert (created.status_code, [item["provider"] for item in listed]) == (201, ["mock"])
    assert (sign_in_response.status_code, sign_in_response.json()["user"]["id"]) == (200, str(member.pk))
    assert (disconnected.status_code, sign_in_by_provider(issuer).status_code) == (204, 403)
    assert [subject_of_mail(text) for text in deliver_and_read_mails(member.email)].count(
        "Your ways to sign in were changed"
    ) == 2


def test_connect_identity_is_idempotent_and_refuses_an_identity_of_another_user(issuer, member):
    own = sign_in(member)
    other = sign_in(UserFactory())

    assert [connect(issuer, own).status_code for _ in range(2)] == [201, 201]
    refused = connect(issuer, other)
    assert (refused.status_code, refused.json()["code"]) == (409, "identity_taken")
    assert [row.user_id for row in Identity.objects.all()] == [member.pk]


def test_connect_identity_refuses_a_flow_of_another_user(issuer, member):
    """An attacker starts the flow, and makes the browser of a victim finish it."""
    own = sign_in(member)
    other = sign_in(UserFactory())
    started = own.post("auth/providers/mock/options")
    callback_params = issuer.authorize(started.json()["authorization_url"])
    other.client.cookies["sign-in"] = own.client.cookies["sign-in"].value

    refused = other.post("auth/providers/mock", callback_params)

    assert (refused.status_code, refused.json()["code"]) == (401, "challenge_refused")
    assert Identity.objects.count() == 0


def test_identities_destroy_hides_identities_of_other_users(issuer, member):
    created = connect(issuer, sign_in(member)).json()["id"]

    assert sign_in(UserFactory()).delete(f"auth/identities/{created}").status_code == 404


def test_reset_password_removes_identities_added_before_verification(issuer, password_hash):
    user = UserFactory(email="pre@example.com", password=password_hash)
    connect(issuer, sign_in(user))
    post_auth(Client(), "password/forgot", {"email": user.email})
    post_auth(
        Client(),
        "password/reset",
        {"token": token_in_mail(deliver_and_read_mails(user.email)[-1]), "password": PASSWORD + "!"},
    )

    assert Identity.objects.count() == 0


def test_config_lists_providers_and_unknown_providers_are_404(issuer):
    config = Client().get("/api/v1/config").json()

    assert config["sign_in_providers"] == ["password", "passkey", "mock"]
    assert config["oidc_providers"] == [{"id": "mock", "label": "Mock"}]
    assert post_auth(Client(), "login/oidc/none/options").status_code == 404
    assert Client().get("/account/oidc/none").status_code == 404
    assert Client().get("/account/oidc/mock").status_code == 200
    with pytest.raises(NotFound):
        oidc.get_provider("none")


@pytest.mark.commits
def test_connect_identity_refuses_a_flow_overtaken_by_a_password_reset(issuer):
    """A squatter's unverified account is taken over by the owner of the address during the flow."""
    squatter = sign_in(UserFactory(email="owner@example.com"))
    callback_params = issuer.authorize(
        squatter.post("auth/providers/mock/options").json()["authorization_url"]
    )
    post_auth(Client(), "password/forgot", {"email": "owner@example.com"})
    token = token_in_mail(deliver_and_read_mails("owner@example.com")[-1])
    issuer.configure(wait=2)

    def connect_in_thread():
        try:
            return squatter.post("auth/providers/mock", callback_params).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        started = pool.submit(connect_in_thread)
        time.sleep(0.7)
        assert (
            post_auth(
                Client(), "password/reset", {"token": token, "password": "a brand new pass phrase"}
            ).status_code
            == 204
        )
        assert started.result(20) == 401

    assert Identity.objects.count() == 0
