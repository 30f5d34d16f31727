"""Passkeys: made, used, and everything that is none."""

from concurrent.futures import ThreadPoolExecutor

import cbor2
import pytest
from django.db import connections
from django.test import Client

from accounts.models import Passkey
from accounts.tests.calls import answer, login, post
from accounts.tests.factories import UserFactory
from conftest import sign_in
from tests.authenticator import Authenticator, decode_base64url, encode_base64url

pytestmark = pytest.mark.django_db


def sign_in_with_passkey(authenticator, **facts):
    asked = post(Client(), "login/passkey/options").json()
    credential = authenticator.get(asked["public_key"], **facts)
    return post(Client(), "login/passkey", {"challenge": asked["challenge"], "credential": credential})


def test_a_passkey_signs_in_alone(world):
    made = world.add_passkey()

    signed_in = sign_in_with_passkey(world.authenticator, handle=world.api.user.pk.bytes)

    assert (made["name"], len(made["recovery_codes"])) == ("Laptop", 10)
    assert (signed_in.status_code, signed_in.json()["user"]["id"]) == (200, str(world.api.user.pk))
    passkey = Passkey.objects.get()
    assert (passkey.sign_count, passkey.last_used_at is None) == (1, False)


def test_a_passkey_is_a_second_factor_after_the_password(world):
    world.add_passkey()
    asked = login(world).json()
    assert asked["methods"] == ["passkey", "recovery_code"]
    (allowed,) = asked["public_key"]["allowCredentials"]

    credential = world.authenticator.get(asked["public_key"])

    assert decode_base64url(allowed["id"]) == world.authenticator.id
    assert answer(asked["challenge"], credential=credential).status_code == 200
    assert answer(asked["challenge"], credential=credential).status_code == 401


def test_without_a_finger_a_passkey_is_a_second_factor_only(world):
    world.authenticator.verifies = False
    world.add_passkey()

    assert sign_in_with_passkey(world.authenticator).json()["code"] == "passkey_refused"
    asked = login(world).json()
    assert (
        answer(asked["challenge"], credential=world.authenticator.get(asked["public_key"])).status_code == 200
    )


@pytest.mark.commits
def test_an_assertion_works_once_also_for_ten_at_the_same_time(world):
    world.add_passkey()
    asked = post(Client(), "login/passkey/options").json()
    body = {"challenge": asked["challenge"], "credential": world.authenticator.get(asked["public_key"])}

    def use(_):
        try:
            return post(Client(), "login/passkey", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(use, range(10))) == [200] + [401] * 9


@pytest.mark.parametrize(
    "change",
    [{"origin": "https://evil.example"}, {"domain": "evil.example"}, {"counter": -1}, {"id": b"x" * 32}],
    ids=["origin", "domain", "copied authenticator", "unknown credential"],
)
def test_a_passkey_of_elsewhere_or_a_copy_is_refused(world, change):
    world.add_passkey()
    sign_in_with_passkey(world.authenticator)
    for name, value in change.items():
        setattr(world.authenticator, name, value)

    assert sign_in_with_passkey(world.authenticator).json()["code"] == "passkey_refused"


def test_nobody_keeps_a_passkey_under_anothers_challenge(world):
    stranger = sign_in(UserFactory())
    asked = stranger.post("auth/passkeys/options").json()
    made = world.authenticator.create(asked["public_key"])

    answer_ = world.api.post(
        "auth/passkeys", {"challenge": asked["challenge"], "credential": made, "name": "x"}
    )

    assert answer_.json()["code"] == "passkey_refused"
    assert Passkey.objects.count() == 0


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"rawId": 5},
        {"rawId": "é"},
        {"rawId": ""},
        {"rawId": "AAAA", "response": []},
        {"id": "AAAA", "rawId": "AAAA"},
        {
            "id": "AAAA",
            "rawId": "AAAA",
            "type": "public-key",
            "response": {"clientDataJSON": "AAAA", "attestationObject": "////"},
        },
        {
            "id": "AAAA",
            "rawId": "AAAA",
            "type": "public-key",
            "response": {"clientDataJSON": "e30", "attestationObject": "oA"},
        },
        {
            "id": "AAAA",
            "rawId": "AAAA",
            "type": "public-key",
            "response": {"clientDataJSON": "e30", "authenticatorData": "AA", "signature": "AA"},
        },
        {"id": None, "rawId": {"a": []}, "response": None},
    ],
)
def test_malformed_credentials_are_refused_as_such(world, credential):
    world.add_passkey()
    known = {
        **credential,
        "rawId": Authenticator().create(world.api.post("auth/passkeys/options").json()["public_key"])[
            "rawId"
        ],
    }
    asked = world.api.post("auth/passkeys/options").json()
    for sent in (credential, known):
        kept = world.api.post(
            "auth/passkeys", {"challenge": asked["challenge"], "credential": sent, "name": "x"}
        )
        challenge = post(Client(), "login/passkey/options").json()["challenge"]
        used = post(Client(), "login/passkey", {"challenge": challenge, "credential": sent})
        assert {kept.status_code, used.status_code} <= {400, 401}
    assert Passkey.objects.count() == 1


def test_malformed_parts_of_a_genuine_credential_are_refused_as_such(world):
    world.add_passkey()
    asked = post(Client(), "login/passkey/options").json()
    genuine = world.authenticator.get(asked["public_key"])
    for part in ("clientDataJSON", "authenticatorData", "signature"):
        for value in ("", "AA", "====", "é", 5, None, [], {}, "e30", "bnVsbA", "/" * 2000):
            sent = {**genuine, "response": {**genuine["response"], part: value}}
            refused = post(Client(), "login/passkey", {"challenge": asked["challenge"], "credential": sent})
            assert refused.status_code == 401, (part, value)


def test_passkeys_are_listed_renamed_and_removed_by_their_owner_alone(world):
    pk = world.add_passkey()["id"]
    stranger = sign_in(UserFactory())

    renamed = world.api.patch(f"auth/passkeys/{pk}", {"name": "Desk"})
    theirs = [stranger.patch(f"auth/passkeys/{pk}", {"name": "x"}), stranger.delete(f"auth/passkeys/{pk}")]

    assert renamed.json()["name"] == "Desk"
    assert [row["name"] for row in world.api.get("auth/passkeys").json()["results"]] == ["Desk"]
    assert [answer_.status_code for answer_ in theirs] == [404, 404]
    assert world.api.delete(f"auth/passkeys/{pk}").status_code == 204
    assert world.api.get("auth/mfa").json() == {"totp": False, "passkeys": 0, "recovery_codes": 0}
    assert login(world).status_code == 200


@pytest.mark.parametrize("length", [1023, 1024, 5000])
def test_a_credential_id_has_a_bound(world, length):
    world.authenticator.id = b"x" * length
    asked = world.api.post("auth/passkeys/options").json()
    body = {
        "challenge": asked["challenge"],
        "credential": world.authenticator.create(asked["public_key"]),
        "name": "x",
    }

    assert world.api.post("auth/passkeys", body).status_code == (201 if length <= 1023 else 401)


@pytest.mark.parametrize(
    "form", ["packed", "tpm", "android-key", "android-safetynet", "fido-u2f", "apple", "none", "x" * 40]
)
@pytest.mark.parametrize(
    "statement",
    [{}, {"alg": -7, "sig": b"x", "x5c": [b"0" * 40]}, {"ver": "2.0", "response": b"a.b.c"}, {"x5c": []}],
)
def test_attestations_that_nobody_asked_for_are_refused_as_such(world, form, statement):
    asked = world.api.post("auth/passkeys/options").json()
    made = world.authenticator.create(asked["public_key"])
    parts = cbor2.loads(decode_base64url(made["response"]["attestationObject"]))
    made["response"]["attestationObject"] = encode_base64url(
        cbor2.dumps({**parts, "fmt": form, "attStmt": statement})
    )

    body = {"challenge": asked["challenge"], "credential": made, "name": "x"}
    assert world.api.post("auth/passkeys", body).status_code == (
        201 if (form, statement) == ("none", {}) else 401
    )


def test_a_passkey_waits_for_the_address_too_where_it_must_be_confirmed(world, settings):
    world.add_passkey()
    settings.EMAIL_VERIFICATION_REQUIRED = True

    answer_ = sign_in_with_passkey(world.authenticator)

    assert (answer_.status_code, answer_.json()["code"], answer_.cookies) == (403, "email_unverified", {})
