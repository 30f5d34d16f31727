"""Sign-in by an OpenID Connect provider, against a mock issuer in its own process."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.credentials import known_devices, oidc
from accounts.models import Identity, Session, SpentChallenge, User
from accounts.services import identities
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import deliver_and_read_mails, post_auth, subject_of_mail
from audit.models import Entry
from conftest import sign_in
from core import outbound

pytestmark = pytest.mark.django_db
EMAIL = "ada@example.com"
LOGIN = "login/oidc/mock"


def start_sign_in(issuer, client=None, *, path=LOGIN):
    """Go to the provider and return. Returns the browser and the parameters for the callback."""
    client = client or Client()
    started = post_auth(client, f"{path}/options")
    assert started.status_code == 200, started.content
    return client, issuer.authorize(started.json()["authorization_url"])


def sign_in_by_provider(issuer, **change):
    client, callback_params = start_sign_in(issuer)
    return post_auth(client, LOGIN, {**callback_params, **change})


def verified_user(email=EMAIL, **values):
    return UserFactory(email=email, email_verified_at=timezone.now(), **values)


def row_counts():
    return User.objects.alive().count(), Identity.objects.count(), Session.objects.count()


def test_sign_in_by_oidc_creates_an_account_once(issuer):
    first = sign_in_by_provider(issuer)
    issuer.configure(claims={"email": "moved@example.com"})
    again = sign_in_by_provider(issuer)

    assert (first.status_code, again.status_code) == (200, 200)
    user = first.json()["user"]
    assert (user["email"], user["email_verified"], user["name"], user["roles"]) == (
        EMAIL,
        True,
        "Ada",
        ["user"],
    )
    assert again.json()["user"]["id"] == user["id"]  # matched by issuer and subject, not by address
    assert {"refresh", "device"} <= first.cookies.keys()
    assert row_counts() == (1, 1, 2)
    assert not User.objects.alive().get().has_usable_password()
    methods = [entry.facts for entry in Entry.objects.filter(event="session.opened", owner_id=user["id"])]
    assert len(methods) == 2
    assert all('"method": "mock"' in method for method in methods)


def test_begin_oidc_sends_state_nonce_and_pkce(issuer):
    start_sign_in(issuer)
    authorization_request = issuer.last_authorization_request()

    assert authorization_request["response_type"] == "code"
    assert authorization_request["scope"] == "openid email profile"
    assert authorization_request["code_challenge_method"] == "S256"
    assert len(authorization_request["code_challenge"]) == 43
    assert len(authorization_request["nonce"]) == 64
    assert authorization_request["redirect_uri"].endswith("/account/oidc/mock")
    assert authorization_request["state"]


def test_sign_in_by_oidc_connects_a_verified_account_and_mails_its_owner(issuer):
    user = verified_user()
    response = sign_in_by_provider(issuer)

    assert (response.status_code, response.json()["user"]["id"]) == (200, str(user.pk))
    assert "Your ways to sign in were changed" in [
        subject_of_mail(text) for text in deliver_and_read_mails(EMAIL)
    ]
    assert Entry.objects.filter(event="identity.connected", owner_id=user.pk).count() == 1


@pytest.mark.parametrize(
    ("user", "claims", "status", "code"),
    [
        (
            {"email_verified_at": None},
            {},
            409,
            "connect_first",
        ),  # a stranger may have created it
        ({"role": "support"}, {}, 409, "connect_first"),  # staff must connect explicitly
        ({"is_active": False}, {}, 409, "connect_first"),
        ({}, {"email_verified": False}, 403, "provider_email_unverified"),
        ({}, {"email_verified": None}, 403, "provider_email_unverified"),
        ({}, {"email_verified": "false"}, 403, "provider_email_unverified"),
        ({}, {"email_verified": 1}, 403, "provider_email_unverified"),
        ({}, {"email": "ADA@example.com\u0000"}, 403, "provider_email_unverified"),
        ({}, {"email": "ada@example.com, eve@example.com"}, 403, "provider_email_unverified"),
        ({}, {"email": {"a": 1}}, 403, "provider_email_unverified"),
        ({"deleted_at": "now"}, {}, 409, "email_taken"),
    ],
)
def test_sign_in_by_oidc_matches_no_account_by_an_unverified_address(issuer, user, claims, status, code):
    values = {"email_verified_at": timezone.now(), **user}
    if "deleted_at" in values:
        values["deleted_at"] = timezone.now()
    UserFactory(email=EMAIL, **values)
    issuer.configure(claims=claims)

    response = sign_in_by_provider(issuer)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (Identity.objects.count(), Session.objects.count()) == (0, 0)


def test_sign_in_by_oidc_creates_no_account_without_a_verified_address(issuer):
    for claims in ({"email_verified": False}, {"email": None}):
        issuer.configure(claims=claims)
        assert sign_in_by_provider(issuer).json()["code"] == "provider_email_unverified"

    assert row_counts() == (0, 0, 0)


def test_sign_in_by_oidc_accepts_the_address_of_a_trust_email_provider(issuer, settings):
    settings.OIDC_PROVIDERS = {"mock": issuer.provider(trust_email=True)}
    issuer.configure(claims={"email_verified": None})

    assert sign_in_by_provider(issuer).status_code == 200


def test_exchange_code_reads_the_address_from_userinfo(issuer):
    without_profile = {"email": None, "email_verified": None, "name": None}
    userinfo = {"sub": "248289761001", "email": EMAIL, "email_verified": True, "name": "Ada"}
    issuer.configure(claims=without_profile, userinfo={**userinfo, "sub": "somebody else"})
    assert sign_in_by_provider(issuer).json()["code"] == "provider_email_unverified"
    issuer.configure(claims=without_profile, userinfo=userinfo)

    assert sign_in_by_provider(issuer).json()["user"]["email"] == EMAIL


NOW = int(time.time())
INVALID_TOKENS = {
    "another audience": {"claims": {"aud": "somebody-else"}},
    "another authorized party": {"claims": {"aud": ["getyousite", "x"], "azp": "x"}},
    "another issuer": {"claims": {"iss": "https://evil.example.com"}},
    "a longer issuer": {"claims": {"iss": "http://localhost"}},
    "expired": {"claims": {"exp": NOW - 3600}},
    "no expiry": {"claims": {"exp": None}},
    "from the future": {"claims": {"iat": NOW + 3600}},
    "another nonce": {"claims": {"nonce": "guessed"}},
    "no nonce": {"claims": {"nonce": None}},
    "no subject": {"claims": {"sub": None}},
    "an endless subject": {"claims": {"sub": "x" * 256}},
    "a number as subject": {"claims": {"sub": 5}},
    "a key that it does not publish": {"key": "unpublished"},
    "the name of its key over another": {"key": "unpublished", "kid": "first"},
    "unsigned": {"key": "none"},
    "signed by the public key": {"key": "public as secret"},
    "another access token": {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
    "no token": {"token": [200, {"access_token": "x", "token_type": "Bearer"}]},
    "a token that is none": {"token": [200, {"access_token": "x", "id_token": "x.y"}]},
    "a list as token": {"token": [200, {"access_token": "x", "id_token": ["x"]}]},
    "refused": {"token": [400, {"error": "invalid_grant"}]},
}


@pytest.mark.parametrize("case", INVALID_TOKENS)
def test_sign_in_by_oidc_refuses_invalid_tokens(issuer, case):
    verified_user()
    issuer.configure(**INVALID_TOKENS[case])
    failed = Entry.objects.filter(event="sign_in.failed")
    before = failed.count()

    response = sign_in_by_provider(issuer)

    assert (response.status_code, response.json()["code"]) == (401, "provider_refused"), response.content
    assert (Identity.objects.count(), Session.objects.count()) == (0, 0)
    assert failed.count() == before + 1


def test_sign_in_by_oidc_accepts_state_once_and_only_in_its_browser(issuer):
    verified_user()
    client, callback_params = start_sign_in(issuer)
    _, other_params = start_sign_in(issuer)

    elsewhere = post_auth(Client(), LOGIN, callback_params)  # a victim opens the link of an attacker
    swapped = post_auth(client, LOGIN, {**callback_params, "state": other_params["state"]})
    forged = post_auth(
        client,
        LOGIN,
        {
            **callback_params,
            "state": callback_params["state"][:-1] + ("0" if callback_params["state"][-1] != "0" else "1"),
        },
    )
    assert [(r.status_code, r.json()["code"]) for r in (elsewhere, swapped, forged)] == [
        (401, "challenge_refused")
    ] * 3
    assert Session.objects.count() == 0

    assert post_auth(client, LOGIN, callback_params).status_code == 200
    assert post_auth(client, LOGIN, callback_params).status_code == 401


def test_sign_in_by_oidc_refuses_state_of_another_purpose_or_expired(issuer, member):
    api = sign_in(member)
    client = api.client
    started = api.post("auth/providers/mock/options").json()
    callback_params = issuer.authorize(started["authorization_url"])

    assert post_auth(client, LOGIN, callback_params).json()["code"] == "challenge_refused"
    later = timezone.now() + timedelta(minutes=6)
    client, callback_params = start_sign_in(issuer)
    with pytest.raises(services.sign_in.ChallengeRefused):
        identities.sign_in_by_oidc(
            "mock",
            **callback_params,
            cookie=client.cookies["sign-in"].value,
            device=known_devices.Device(),
            now=later,
        )


def test_sign_in_by_oidc_refuses_a_code_of_another_browser(issuer):
    """Code injection: the attacker's state and cookie with the victim's code. PKCE prevents it."""
    verified_user()
    _, victim_params = start_sign_in(issuer)
    attacker, own_params = start_sign_in(issuer)

    response = post_auth(attacker, LOGIN, {**own_params, "code": victim_params["code"]})

    assert (response.status_code, response.json()["code"]) == (401, "provider_refused")
    assert Session.objects.count() == 0


def test_sign_in_by_oidc_refuses_another_issuer(issuer):
    assert sign_in_by_provider(issuer, iss="https://evil.example.com").json()["code"] == "provider_refused"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"code": "x"},
        {"state": "x"},
        {"code": "x y", "state": "x"},
        {"code": "%zz" * 2000, "state": "x"},
        {"code": "é", "state": "x"},
    ],
)
def test_sign_in_by_oidc_refuses_malformed_parameters(issuer, body):
    client, _ = start_sign_in(issuer)

    assert post_auth(client, LOGIN, body).status_code == 400


def test_exchange_code_and_authorization_url_report_an_unavailable_provider(issuer, settings):
    for control in ({"token": [500, "down"]}, {"token": [200, "not JSON"]}):
        client, callback_params = start_sign_in(issuer)
        issuer.configure(**control)
        response = post_auth(client, LOGIN, callback_params)
        assert (response.status_code, response.json()["code"]) == (503, "provider_away")
        assert response["Retry-After"]
        oidc._issuers.clear()
    for metadata in (
        {"issuer": "https://evil.example.com"},
        {"token_endpoint": "http://evil.example.com/token"},
    ):
        oidc._issuers.clear()
        issuer.configure(metadata=metadata)
        assert post_auth(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"
    settings.OIDC_PROVIDERS = {"mock": issuer.provider(issuer="http://localhost:9")}
    assert post_auth(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"
    assert Session.objects.count() == 0


def test_authorization_url_pauses_after_a_timeout(issuer, monkeypatch):
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 0.3)
    issuer.configure(wait=2)
    assert post_auth(Client(), f"{LOGIN}/options").status_code == 503
    started = time.monotonic()
    responses = [post_auth(Client(), f"{LOGIN}/options").status_code for _ in range(20)]

    assert set(responses) == {503}
    assert time.monotonic() - started < 20 * 0.3  # without a pause each would take as long as the first


def test_sign_in_by_oidc_requires_the_second_factor(issuer, world):
    app = world.add_totp()
    User.objects.alive().filter(pk=world.api.user.pk).update(email_verified_at=timezone.now())
    issuer.configure(claims={"email": world.api.user.email})

    first = sign_in_by_provider(issuer)
    second = post_auth(Client(), "mfa/verify", {"challenge": first.json()["challenge"], "code": app.now()})

    assert (first.status_code, first.json()["code"], second.status_code) == (401, "mfa_required", 200)
    assert '"method": "mock+totp"' in Entry.objects.filter(event="session.opened").latest("id").facts


@pytest.mark.commits
def test_sign_in_by_oidc_in_parallel_creates_one_account(issuer):
    browsers = [start_sign_in(issuer) for _ in range(6)]

    def finish(flow):
        try:
            return post_auth(flow[0], LOGIN, flow[1]).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(finish, browsers)) == {200}
    assert row_counts() == (1, 1, 6)


@pytest.mark.commits
def test_sign_in_by_oidc_in_parallel_opens_one_session_per_state(issuer):
    client, callback_params = start_sign_in(issuer)

    def finish(_):
        browser = Client()
        browser.cookies["sign-in"] = client.cookies["sign-in"].value
        try:
            return post_auth(browser, LOGIN, callback_params).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(finish, range(20)))
    assert (responses.count(200), set(responses)) == (1, {200, 401})
    assert SpentChallenge.objects.count() == 1


def test_sign_in_by_oidc_refuses_disabled_and_deleted_accounts(issuer):
    user_id = sign_in_by_provider(issuer).json()["user"]["id"]
    for change in ({"is_active": False}, {"deleted_at": timezone.now()}):
        User.objects.get_queryset().filter(pk=user_id).update(**change)
        assert sign_in_by_provider(issuer).json()["code"] == "invalid_credentials"
