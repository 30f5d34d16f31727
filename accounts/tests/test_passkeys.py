"""Passkeys: registration, sign-in, and malformed credentials."""

from concurrent.futures import ThreadPoolExecutor

import cbor2
import pytest
from django.db import connections
from django.test import Client

from accounts.models import Passkey
from accounts.tests.factories import UserFactory
from accounts.tests.helpers import log_in, post_auth, verify_mfa
from conftest import sign_in
from tests.authenticator import Authenticator, decode_base64url, encode_base64url

pytestmark = pytest.mark.django_db


def sign_in_with_passkey(authenticator, **options):
    challenge_response = post_auth(Client(), "login/passkey/options").json()
    credential = authenticator.get(challenge_response["public_key"], **options)
    return post_auth(
        Client(), "login/passkey", {"challenge": challenge_response["challenge"], "credential": credential}
    )


def test_passkey_sign_in_needs_no_password(world):
    created = world.add_passkey()

    signed_in = sign_in_with_passkey(world.authenticator, handle=world.api.user.pk.bytes)

    assert (created["name"], len(created["recovery_codes"])) == ("Laptop", 10)
    assert (signed_in.status_code, signed_in.json()["user"]["id"]) == (200, str(world.api.user.pk))
    passkey = Passkey.objects.get()
    assert (passkey.sign_count, passkey.last_used_at is None) == (1, False)


def test_verify_mfa_accepts_a_passkey_once(world):
    world.add_passkey()
    challenge_response = log_in(world).json()
    assert challenge_response["methods"] == ["passkey", "recovery_code"]
    (allowed,) = challenge_response["public_key"]["allowCredentials"]

    credential = world.authenticator.get(challenge_response["public_key"])

    assert decode_base64url(allowed["id"]) == world.authenticator.id
    assert verify_mfa(challenge_response["challenge"], credential=credential).status_code == 200
    assert verify_mfa(challenge_response["challenge"], credential=credential).status_code == 401


def test_passkey_sign_in_requires_user_verification(world):
    world.authenticator.verifies = False
    world.add_passkey()

    assert sign_in_with_passkey(world.authenticator).json()["code"] == "passkey_refused"
    challenge_response = log_in(world).json()
    assert (
        verify_mfa(
            challenge_response["challenge"],
            credential=world.authenticator.get(challenge_response["public_key"]),
        ).status_code
        == 200
    )


@pytest.mark.commits
def test_verify_passkey_accepts_an_assertion_once_in_parallel(world):
    world.add_passkey()
    challenge_response = post_auth(Client(), "login/passkey/options").json()
    body = {
        "challenge": challenge_response["challenge"],
        "credential": world.authenticator.get(challenge_response["public_key"]),
    }

    def sign_in_in_thread(_):
        try:
            return post_auth(Client(), "login/passkey", body).status_code
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(sign_in_in_thread, range(10))) == [200] + [401] * 9


@pytest.mark.parametrize(
    "change",
    [{"origin": "https://evil.example"}, {"domain": "evil.example"}, {"counter": -1}, {"id": b"x" * 32}],
    ids=["origin", "domain", "copied authenticator", "unknown credential"],
)
def test_verify_assertion_refuses_another_origin_and_cloned_authenticators(world, change):
    world.add_passkey()
    sign_in_with_passkey(world.authenticator)
    for name, value in change.items():
        setattr(world.authenticator, name, value)

    assert sign_in_with_passkey(world.authenticator).json()["code"] == "passkey_refused"


def test_add_passkey_refuses_a_challenge_of_another_user(world):
    stranger = sign_in(UserFactory())
    challenge_response = stranger.post("auth/passkeys/options").json()
    created = world.authenticator.create(challenge_response["public_key"])

    response = world.api.post(
        "auth/passkeys", {"challenge": challenge_response["challenge"], "credential": created, "name": "x"}
    )

    assert response.json()["code"] == "passkey_refused"
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
def test_verify_registration_and_verify_assertion_refuse_malformed_credentials(world, credential):
    world.add_passkey()
    with_new_id = {
        **credential,
        "rawId": Authenticator().create(world.api.post("auth/passkeys/options").json()["public_key"])[
            "rawId"
        ],
    }
    challenge_response = world.api.post("auth/passkeys/options").json()
    for credential_sent in (credential, with_new_id):
        added = world.api.post(
            "auth/passkeys",
            {"challenge": challenge_response["challenge"], "credential": credential_sent, "name": "x"},
        )
        challenge = post_auth(Client(), "login/passkey/options").json()["challenge"]
        signed_in = post_auth(
            Client(), "login/passkey", {"challenge": challenge, "credential": credential_sent}
        )
        assert {added.status_code, signed_in.status_code} <= {400, 401}
    assert Passkey.objects.count() == 1


def test_verify_assertion_refuses_malformed_parts(world):
    world.add_passkey()
    challenge_response = post_auth(Client(), "login/passkey/options").json()
    valid = world.authenticator.get(challenge_response["public_key"])
    for field in ("clientDataJSON", "authenticatorData", "signature"):
        for value in ("", "AA", "====", "é", 5, None, [], {}, "e30", "bnVsbA", "/" * 2000):
            credential_sent = {**valid, "response": {**valid["response"], field: value}}
            refused = post_auth(
                Client(),
                "login/passkey",
                {"challenge": challenge_response["challenge"], "credential": credential_sent},
            )
            assert refused.status_code == 401, (field, value)


def test_passkeys_list_rename_and_remove_are_limited_to_the_owner(world):
    pk = world.add_passkey()["id"]
    stranger = sign_in(UserFactory())

    renamed = world.api.patch(f"auth/passkeys/{pk}", {"name": "Desk"})
    stranger_responses = [
        stranger.patch(f"auth/passkeys/{pk}", {"name": "x"}),
        stranger.delete(f"auth/passkeys/{pk}"),
    ]

    assert renamed.json()["name"] == "Desk"
    assert [row["name"] for row in world.api.get("auth/passkeys").json()["results"]] == ["Desk"]
    assert [response.status_code for response in stranger_responses] == [404, 404]
    assert world.api.delete(f"auth/passkeys/{pk}").status_code == 204
    assert world.api.get("auth/mfa").json() == {"totp": False, "passkeys": 0, "recovery_codes": 0}
    assert log_in(world).status_code == 200


@pytest.mark.parametrize("length", [1023, 1024, 5000])
def test_verify_registration_limits_the_credential_id(world, length):
    world.authenticator.id = b"x" * length
    challenge_response = world.api.post("auth/passkeys/options").json()
    body = {
        "challenge": challenge_response["challenge"],
        "credential": world.authenticator.create(challenge_response["public_key"]),
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
def test_verify_registration_refuses_attestations(world, form, statement):
    challenge_response = world.api.post("auth/passkeys/options").json()
    created = world.authenticator.create(challenge_response["public_key"])
    parts = cbor2.loads(decode_base64url(created["response"]["attestationObject"]))
    created["response"]["attestationObject"] = encode_base64url(
        cbor2.dumps({**parts, "fmt": form, "attStmt": statement})
    )

    body = {"challenge": challenge_response["challenge"], "credential": created, "name": "x"}
    assert world.api.post("auth/passkeys", body).status_code == (
        201 if (form, statement) == ("none", {}) else 401
    )


def test_passkey_sign_in_requires_a_verified_address(world, settings):
    world.add_passkey()
    settings.EMAIL_VERIFICATION_REQUIRED = True

    response = sign_in_with_passkey(world.authenticator)

    assert (response.status_code, response.json()["code"], response.cookies) == (403, "email_unverified", {})
