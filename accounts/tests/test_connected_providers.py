"""Connecting a provider by hand, and what never comes of it."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections
from django.test import Client

from accounts.credentials import oidc
from accounts.models import Identity
from accounts.tests.calls import link_token, mails_to, post, subject
from accounts.tests.factories import UserFactory
from accounts.tests.test_identities import come
from conftest import PASSWORD, sign_in
from core.errors import NotFound

pytestmark = pytest.mark.django_db


def connect(issuer, api):
    begun = api.post("auth/providers/mock/options")
    return api.post("auth/providers/mock", issuer.authorize(begun.json()["authorization_url"]))


def test_one_connects_lists_and_disconnects_providers(issuer, member):
    api = sign_in(member)
    issuer.configure(claims={"email": "elsewhere@example.com", "email_verified": False})

    made = connect(issuer, api)
    listed = api.get("auth/identities").json()["results"]
    came = come(issuer)
    gone = api.delete(f"auth/identities/{made.json()['id']}")

    assert (made.status_code, [item["provider"] for item in listed]) == (201, ["mock"])
    assert (came.status_code, came.json()["user"]["id"]) == (200, str(member.pk))
    assert (gone.status_code, come(issuer).status_code) == (204, 403)
    assert [subject(text) for text in mails_to(member.email)].count("Your ways to sign in were changed") == 2


def test_connecting_twice_is_once_and_never_takes_what_is_somebody_elses(issuer, member):
    mine = sign_in(member)
    theirs = sign_in(UserFactory())

    assert [connect(issuer, mine).status_code for _ in range(2)] == [201, 201]
    taken = connect(issuer, theirs)
    assert (taken.status_code, taken.json()["code"]) == (409, "identity_taken")
    assert [row.user_id for row in Identity.objects.all()] == [member.pk]


def test_a_connection_begun_by_one_is_not_finished_by_another(issuer, member):
    """An attacker who signs in as themselves and makes a victim's browser finish connects nothing."""
    mine = sign_in(member)
    theirs = sign_in(UserFactory())
    begun = mine.post("auth/providers/mock/options")
    brought = issuer.authorize(begun.json()["authorization_url"])
    theirs.client.cookies["sign-in"] = mine.client.cookies["sign-in"].value

    refused = theirs.post("auth/providers/mock", brought)

    assert (refused.status_code, refused.json()["code"]) == (401, "challenge_refused")
    assert Identity.objects.count() == 0


def test_somebody_elses_connection_cannot_be_removed(issuer, member):
    made = connect(issuer, sign_in(member)).json()["id"]

    assert sign_in(UserFactory()).delete(f"auth/identities/{made}").status_code == 404


def test_a_reset_before_the_address_was_checked_takes_connections_of_strangers_away(issuer, password_hash):
    user = UserFactory(email="pre@example.com", password=password_hash)
    connect(issuer, sign_in(user))
    post(Client(), "password/forgot", {"email": user.email})
    post(
        Client(),
        "password/reset",
        {"token": link_token(mails_to(user.email)[-1]), "password": PASSWORD + "!"},
    )

    assert Identity.objects.count() == 0


def test_providers_are_told_and_unknown_ones_are_not_there(issuer):
    told = Client().get("/api/v1/config").json()

    assert told["sign_in_providers"] == ["password", "passkey", "mock"]
    assert told["oidc_providers"] == [{"id": "mock", "label": "Mock"}]
    assert post(Client(), "login/oidc/none/options").status_code == 404
    assert Client().get("/account/oidc/none").status_code == 404
    assert Client().get("/account/oidc/mock").status_code == 200
    with pytest.raises(NotFound):
        oidc.provider("none")


@pytest.mark.commits
def test_a_connection_begun_before_a_reset_is_not_made_after_it(issuer):
    """A squatter's unverified account at somebody's address; its owner takes it while the provider is being
    asked.
    """
    squatter = sign_in(UserFactory(email="owner@example.com"))
    brought = issuer.authorize(squatter.post("auth/providers/mock/options").json()["authorization_url"])
    post(Client(), "password/forgot", {"email": "owner@example.com"})
    token = link_token(mails_to("owner@example.com")[-1])
    issuer.configure(wait=2)

    def connecting():
        try:
            return squatter.post("auth/providers/mock", brought).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        begun = pool.submit(connecting)
        time.sleep(0.7)
        assert (
            post(
                Client(), "password/reset", {"token": token, "password": "a brand new pass phrase"}
            ).status_code
            == 204
        )
        assert begun.result(20) == 401

    assert Identity.objects.count() == 0
