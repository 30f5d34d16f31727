"""Signing in by a provider, against an issuer that is a process of its own and may lie."""

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
from accounts.tests.calls import mails_to, post, subject
from accounts.tests.factories import UserFactory
from audit.models import Entry
from conftest import sign_in

pytestmark = pytest.mark.django_db
EMAIL = "ada@example.com"
LOGIN = "login/oidc/mock"


def go(issuer, client=None, *, path=LOGIN):
    """To the provider and back: the browser, and what to send on."""
    client = client or Client()
    begun = post(client, f"{path}/options")
    assert begun.status_code == 200, begun.content
    return client, issuer.visit(begun.json()["authorization_url"])


def come(issuer, **change):
    client, brought = go(issuer)
    return post(client, LOGIN, {**brought, **change})


def verified(email=EMAIL, **facts):
    return UserFactory(email=email, email_verified_at=timezone.now(), **facts)


def accounts():
    return User.objects.alive().count(), Identity.objects.count(), Session.objects.count()


def test_a_newcomer_gets_an_account_with_a_checked_address_and_comes_back_to_it(issuer):
    first = come(issuer)
    issuer.say(claims={"email": "moved@example.com"})
    again = come(issuer)

    assert (first.status_code, again.status_code) == (200, 200)
    user = first.json()["user"]
    assert (user["email"], user["email_verified"], user["name"], user["roles"]) == (
        EMAIL,
        True,
        "Ada",
        ["user"],
    )
    assert again.json()["user"]["id"] == user["id"]  # by issuer and subject, whatever the address says now
    assert {"refresh", "device"} <= first.cookies.keys()
    assert accounts() == (1, 1, 2)
    assert not User.objects.alive().get().has_usable_password()
    methods = [entry.facts for entry in Entry.objects.filter(event="session.opened", owner_id=user["id"])]
    assert len(methods) == 2
    assert all('"method": "mock"' in facts for facts in methods)


def test_what_is_asked_for_has_state_nonce_and_pkce(issuer):
    go(issuer)
    asked = issuer.seen()

    assert asked["response_type"] == "code"
    assert asked["scope"] == "openid email profile"
    assert asked["code_challenge_method"] == "S256"
    assert len(asked["code_challenge"]) == 43
    assert len(asked["nonce"]) == 64
    assert asked["redirect_uri"].endswith("/account/oidc/mock")
    assert asked["state"]


def test_a_checked_account_with_the_same_checked_address_is_connected_and_its_owner_told(issuer):
    user = verified()
    came = come(issuer)

    assert (came.status_code, came.json()["user"]["id"]) == (200, str(user.pk))
    assert "Your ways to sign in were changed" in [subject(text) for text in mails_to(EMAIL)]
    assert Entry.objects.filter(event="identity.connected", owner_id=user.pk).count() == 1


@pytest.mark.parametrize(
    ("user", "claims", "status", "code"),
    [
        (
            {"email_verified_at": None},
            {},
            409,
            "connect_first",
        ),  # somebody may have made it before its owner came
        ({"role": "support"}, {}, 409, "connect_first"),  # staff connect by hand
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
def test_no_account_is_opened_by_address_where_a_side_has_not_checked_it(issuer, user, claims, status, code):
    facts = {"email_verified_at": timezone.now(), **user}
    if "deleted_at" in facts:
        facts["deleted_at"] = timezone.now()
    UserFactory(email=EMAIL, **facts)
    issuer.say(claims=claims)

    came = come(issuer)

    assert (came.status_code, came.json()["code"]) == (status, code)
    assert (Identity.objects.count(), Session.objects.count()) == (0, 0)


def test_without_a_checked_address_no_account_is_made_either(issuer):
    for claims in ({"email_verified": False}, {"email": None}):
        issuer.say(claims=claims)
        assert come(issuer).json()["code"] == "provider_email_unverified"

    assert accounts() == (0, 0, 0)


def test_a_provider_that_is_trusted_to_check_need_not_say_so(issuer, settings):
    settings.OIDC_PROVIDERS = {"mock": issuer.provider(trust_email=True)}
    issuer.say(claims={"email_verified": None})

    assert come(issuer).status_code == 200


def test_a_provider_that_keeps_its_tokens_short_is_asked_for_the_address(issuer):
    short = {"email": None, "email_verified": None, "name": None}
    about = {"sub": "248289761001", "email": EMAIL, "email_verified": True, "name": "Ada"}
    issuer.say(claims=short, userinfo={**about, "sub": "somebody else"})
    assert come(issuer).json()["code"] == "provider_email_unverified"
    issuer.say(claims=short, userinfo=about)

    assert come(issuer).json()["user"]["email"] == EMAIL


now = int(time.time())
LIES = {
    "another audience": {"claims": {"aud": "somebody-else"}},
    "more audiences without azp": {"claims": {"aud": ["getyousite", "somebody-else"]}},
    "another authorized party": {"claims": {"aud": ["getyousite", "x"], "azp": "x"}},
    "another issuer": {"claims": {"iss": "https://evil.example.com"}},
    "a longer issuer": {"claims": {"iss": "http://localhost"}},
    "expired": {"claims": {"exp": now - 3600}},
    "no expiry": {"claims": {"exp": None}},
    "from the future": {"claims": {"iat": now + 3600}},
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


@pytest.mark.parametrize("lie", LIES)
def test_a_token_that_proves_nothing_opens_nothing(issuer, lie):
    verified()
    issuer.say(**LIES[lie])
    failed = Entry.objects.filter(event="sign_in.failed")
    before = failed.count()

    came = come(issuer)

    assert (came.status_code, came.json()["code"]) == (401, "provider_refused"), came.content
    assert (Identity.objects.count(), Session.objects.count()) == (0, 0)
    assert failed.count() == before + 1


def test_state_is_good_in_the_browser_that_began_and_once(issuer):
    verified()
    client, brought = go(issuer)
    _, others = go(issuer)

    elsewhere = post(Client(), LOGIN, brought)  # an attacker's link, opened by a victim
    swapped = post(client, LOGIN, {**brought, "state": others["state"]})
    forged = post(
        client,
        LOGIN,
        {**brought, "state": brought["state"][:-1] + ("0" if brought["state"][-1] != "0" else "1")},
    )
    assert [(r.status_code, r.json()["code"]) for r in (elsewhere, swapped, forged)] == [
        (401, "challenge_refused")
    ] * 3
    assert Session.objects.count() == 0

    assert post(client, LOGIN, brought).status_code == 200
    assert post(client, LOGIN, brought).status_code == 401


def test_a_state_of_another_purpose_or_too_old_is_refused(issuer, member):
    connecting = sign_in(member)
    client = connecting.client
    begun = connecting.post("auth/providers/mock/options").json()
    brought = issuer.visit(begun["authorization_url"])

    assert post(client, LOGIN, brought).json()["code"] == "challenge_refused"
    late = timezone.now() + timedelta(minutes=6)
    client, brought = go(issuer)
    with pytest.raises(services.sign_in.ChallengeRefused):
        identities.sign_in_by_oidc(
            "mock", **brought, cookie=client.cookies["sign-in"].value, device=known_devices.Device(), now=late
        )


def test_a_code_of_one_browser_is_worth_nothing_in_another(issuer):
    """Code injection: the attacker's own state and cookie with the victim's code. PKCE stands in the way."""
    verified()
    _, victims = go(issuer)
    attacker, own = go(issuer)

    came = post(attacker, LOGIN, {**own, "code": victims["code"]})

    assert (came.status_code, came.json()["code"]) == (401, "provider_refused")
    assert Session.objects.count() == 0


def test_an_answer_of_another_issuer_is_refused(issuer):
    assert come(issuer, iss="https://evil.example.com").json()["code"] == "provider_refused"


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
def test_hostile_answers_are_refused_before_anybody_is_asked(issuer, body):
    client, _ = go(issuer)

    assert post(client, LOGIN, body).status_code == 400


def test_an_issuer_that_is_down_or_talks_nonsense_says_try_again(issuer, settings):
    for said in ({"token": [500, "down"]}, {"token": [200, "not JSON"]}):
        client, brought = go(issuer)
        issuer.say(**said)
        came = post(client, LOGIN, brought)
        assert (came.status_code, came.json()["code"]) == (503, "provider_away")
        assert came["Retry-After"]
        oidc._issuers.clear()
    for metadata in (
        {"issuer": "https://evil.example.com"},
        {"token_endpoint": "http://evil.example.com/token"},
    ):
        oidc._issuers.clear()
        issuer.say(metadata=metadata)
        assert post(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"
    settings.OIDC_PROVIDERS = {"mock": issuer.provider(issuer="http://localhost:9")}
    assert post(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"
    assert Session.objects.count() == 0


def test_a_provider_that_hangs_is_not_waited_for_twice(issuer, monkeypatch):
    monkeypatch.setattr(oidc, "TIMEOUT", 0.3)
    issuer.say(wait=2)
    assert post(Client(), f"{LOGIN}/options").status_code == 503
    begun = time.monotonic()
    answers = [post(Client(), f"{LOGIN}/options").status_code for _ in range(20)]

    assert set(answers) == {503}
    assert time.monotonic() - begun < 20 * 0.3  # each would have taken as long as the first


def test_keys_are_fetched_again_for_a_new_one_but_not_for_each_bad_token(issuer, monkeypatch):
    fetched = []
    real = oidc._fetch
    monkeypatch.setattr(
        oidc,
        "_fetch",
        lambda chosen, address, **rest: fetched.append(address) or real(chosen, address, **rest),
    )
    come(issuer)
    issuer.say(key="unpublished")
    for _ in range(3):
        come(issuer)

    assert [address.rpartition("/")[2] for address in fetched] == ["openid-configuration", "jwks"]
    oidc._issuers[issuer.url].keys_fetched_at -= oidc.KEYS_AGAIN_SECONDS + 1
    come(issuer)
    assert len(fetched) == 3


def test_the_second_factor_is_asked_for_after_the_provider(issuer, world):
    app = world.totp()
    User.objects.alive().filter(pk=world.api.user.pk).update(email_verified_at=timezone.now())
    issuer.say(claims={"email": world.api.user.email})

    first = come(issuer)
    second = post(Client(), "mfa/verify", {"challenge": first.json()["challenge"], "code": app.now()})

    assert (first.status_code, first.json()["code"], second.status_code) == (401, "mfa_required", 200)
    assert '"method": "mock+totp"' in Entry.objects.filter(event="session.opened").latest("id").facts


@pytest.mark.commits
def test_two_first_sign_ins_at_once_make_one_account(issuer):
    browsers = [go(issuer) for _ in range(6)]

    def finish(one):
        try:
            return post(one[0], LOGIN, one[1]).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(finish, browsers)) == {200}
    assert accounts() == (1, 1, 6)


@pytest.mark.commits
def test_one_return_answered_twenty_times_at_once_opens_one_session(issuer):
    client, brought = go(issuer)

    def finish(_):
        mine = Client()
        mine.cookies["sign-in"] = client.cookies["sign-in"].value
        try:
            return post(mine, LOGIN, brought).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(finish, range(20)))
    assert (answers.count(200), set(answers)) == (1, {200, 401})
    assert SpentChallenge.objects.count() == 1


def test_a_disabled_or_closed_account_stays_shut(issuer):
    came = come(issuer).json()["user"]["id"]
    for change in ({"is_active": False}, {"deleted_at": timezone.now()}):
        User.objects.get_queryset().filter(pk=came).update(**change)
        assert come(issuer).json()["code"] == "invalid_credentials"
