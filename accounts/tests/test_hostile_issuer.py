"""A sign-in provider that sends what no provider should: refused or told to be away, never a 5xx of ours but
503.
"""

import base64
import json
import time

import pytest
from django.test import Client

from accounts.credentials import oidc
from accounts.tests.calls import post
from accounts.tests.test_identities import EMAIL, LOGIN, come, go, verified

pytestmark = pytest.mark.django_db


def part(value):
    plain = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(plain).decode().rstrip("=")


def token(header):
    return f"{part(header)}.{part({})}.{part(b'x')}"


CLAIMS = {
    "sub with NUL": {"sub": "a\u0000b"},
    "exp list": {"exp": [1]},
    "exp text": {"exp": "soon"},
    "iat object": {"iat": {}},
    "nbf text": {"nbf": "x"},
    "aud object": {"aud": {"getyousite": 1}},
    "aud nested": {"aud": [["getyousite"]]},
    "azp list": {"azp": ["x"]},
    "nonce list": {"nonce": ["x"]},
    "at_hash number": {"at_hash": 5},
    "at_hash not ASCII": {"at_hash": "é"},
    "auth_time text": {"auth_time": "x"},
    "amr text": {"amr": "x"},
    "sub list": {"sub": ["x"]},
    "iss list": {"iss": ["x"]},
}
TOKENS = {
    "number": 5,
    "not ASCII": "é.é.é",
    "header list": token([1]),
    "header text": token("x"),
    "no alg": token({}),
    "alg list": token({"alg": ["RS256"]}),
    "kid list": token({"alg": "RS256", "kid": [1]}),
    "crit": token({"alg": "RS256", "crit": 5}),
    "another kind of key": token({"alg": "ES256", "kid": "first"}),
    "EdDSA": token({"alg": "EdDSA", "kid": "first"}),
    "b64": token({"alg": "RS256", "b64": False, "crit": ["b64"]}),
    "dots": "....",
    "none": "",
    "encrypted": "a.b.c.d.e",
    "not UTF-8": f"{part(bytes([255, 254]))}.x.x",
    "deep": f"{part(b'[' * 100_000)}.x.x",
    "null": None,
}
BODIES = {
    "list": "[]",
    "text": '"x"',
    "number": "5",
    "null": "null",
    "empty": "",
    "deep": "[" * 200_000,
    "an infinity": '{"access_token":"x","expires_in":1e999,"id_token":"a.b.c"}',
    "a huge number": '{"access_token":"x","expires_in":1' + "0" * 5000 + ',"id_token":"a.b.c"}',
    "error list": '{"error": [1]}',
    "error object": '{"error": {"a":1}}',
    "2 MiB": " " * 2**21,
}
KEYS = {
    "text": {"keys": "x"},
    "numbers": {"keys": [1]},
    "null": {"keys": None},
    "bad RSA": {"keys": [{"kty": "RSA", "kid": "first", "n": "!!", "e": "AQAB"}]},
    "RSA of zero": {"keys": [{"kty": "RSA", "kid": "first", "n": "AA", "e": "AA"}]},
    "no such curve": {"keys": [{"kty": "EC", "kid": "first", "crv": "P-999", "x": "AA", "y": "AA"}]},
    "off the curve": {"keys": [{"kty": "EC", "kid": "first", "crv": "P-256", "x": "AA", "y": "AA"}]},
    "short OKP": {"keys": [{"kty": "OKP", "kid": "first", "crv": "Ed25519", "x": "AA"}]},
    "kty list": {"keys": [{"kty": ["x"]}]},
    "unknown kty": {"keys": [{"kty": "XX"}]},
    "none": {"keys": []},
    "RSA of numbers": {"keys": [{"kty": "RSA", "kid": "first", "n": 5, "e": 5}]},
    "not ASCII": {"keys": [{"kty": "RSA", "kid": "first", "n": "é", "e": "AQAB"}]},
    "a shared secret": {"keys": [{"kty": "oct", "kid": "first", "k": "AQAB"}]},
}
METADATA = {
    "a list": {"authorization_endpoint": ["https://x"]},
    "a line break": {"authorization_endpoint": "https:// x\r\nA: b"},
    "half an address": {"authorization_endpoint": "https://["},
    "half a token endpoint": {"token_endpoint": "https://["},
    "userinfo in the clear": {"userinfo_endpoint": "http://example.com/me"},
    "somebody at localhost": {"jwks_uri": "http://localhost:1@example.com/"},
}


@pytest.mark.parametrize("name", CLAIMS)
def test_claims(issuer, name):
    issuer.configure(claims=CLAIMS[name])

    assert come(issuer).json()["code"] == "provider_refused"


@pytest.mark.parametrize("name", TOKENS)
def test_tokens(issuer, name):
    issuer.configure(token=[200, {"access_token": "x", "token_type": "Bearer", "id_token": TOKENS[name]}])

    assert come(issuer).json()["code"] == "provider_refused"


@pytest.mark.parametrize("name", BODIES)
def test_bodies_of_the_token_endpoint(issuer, name):
    client, brought = go(issuer)
    issuer.configure(token=[200, BODIES[name]])

    assert post(client, LOGIN, brought).json()["code"] in {"provider_refused", "provider_away"}


@pytest.mark.parametrize("name", KEYS)
def test_keys(issuer, name):
    issuer.configure(jwks=KEYS[name])

    assert come(issuer).json()["code"] == "provider_refused"


@pytest.mark.parametrize("name", METADATA)
def test_metadata(issuer, name):
    issuer.configure(metadata=METADATA[name])

    assert post(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"


@pytest.mark.parametrize("methods", [5, None, "x", [], ["client_secret_basic"]])
def test_ways_to_authenticate_that_are_none(issuer, methods):
    issuer.configure(metadata={"token_endpoint_auth_methods_supported": methods})

    assert come(issuer).status_code in {200, 401}


def test_kinds_of_keys_that_we_do_not_know_are_skipped(issuer):
    good = json.loads(json.dumps(issuer.published_keys()))
    issuer.configure(jwks={"keys": [{"kty": "AKP", "kid": "new"}, *good["keys"]]})

    assert come(issuer).status_code == 200


def test_a_provider_that_drips_holds_nobody_for_long(issuer, monkeypatch):
    monkeypatch.setattr(oidc, "WHOLE_SECONDS", 1)
    issuer.configure(drip=0.05)
    begun = time.monotonic()

    assert post(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"
    assert time.monotonic() - begun < 5  # the whole document would take twenty


@pytest.mark.parametrize(
    "spelling",
    ["ａda@example.com", "ada@ｅxample.com", "ⓐda@example.com", "ada＠example.com", "aͅda@example.com"],
)
def test_an_address_that_only_looks_like_the_owners_opens_nothing(issuer, spelling):
    verified(EMAIL)
    issuer.configure(claims={"email": spelling})

    assert come(issuer).json()["code"] == "provider_email_unverified"


@pytest.mark.parametrize("spelling", [" ada@example.com", "ADA@Example.com"])
def test_case_and_space_are_the_same_address(issuer, spelling):
    user = verified(EMAIL)
    issuer.configure(claims={"email": spelling})

    assert come(issuer).json()["user"]["id"] == str(user.pk)
