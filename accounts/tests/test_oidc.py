"""Malformed responses of an OpenID Connect provider: they become 401 or 503, never another 5xx."""

import base64
import ipaddress
import json
import socket
import time

import pytest
from django.test import Client

from accounts.credentials import oidc
from accounts.tests.helpers import post_auth
from accounts.tests.test_identities import EMAIL, LOGIN, sign_in_by_provider, start_sign_in, verified_user
from core import outbound

pytestmark = pytest.mark.django_db


def encode_part(value):
    raw_bytes = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw_bytes).decode().rstrip("=")


def unsigned_token(header):
    return f"{encode_part(header)}.{encode_part({})}.{encode_part(b'x')}"


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
    "header list": unsigned_token([1]),
    "header text": unsigned_token("x"),
    "no alg": unsigned_token({}),
    "alg list": unsigned_token({"alg": ["RS256"]}),
    "kid list": unsigned_token({"alg": "RS256", "kid": [1]}),
    "crit": unsigned_token({"alg": "RS256", "crit": 5}),
    "another kind of key": unsigned_token({"alg": "ES256", "kid": "first"}),
    "EdDSA": unsigned_token({"alg": "EdDSA", "kid": "first"}),
    "b64": unsigned_token({"alg": "RS256", "b64": False, "crit": ["b64"]}),
    "dots": "....",
    "none": "",
    "encrypted": "a.b.c.d.e",
    "not UTF-8": f"{encode_part(bytes([255, 254]))}.x.x",
    "deep": f"{encode_part(b'[' * 100_000)}.x.x",
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
def test_exchange_code_refuses_invalid_claims(issuer, name):
    issuer.configure(claims=CLAIMS[name])

    assert sign_in_by_provider(issuer).json()["code"] == "provider_refused"


@pytest.mark.parametrize("name", TOKENS)
def test_exchange_code_refuses_malformed_tokens(issuer, name):
    issuer.configure(token=[200, {"access_token": "x", "token_type": "Bearer", "id_token": TOKENS[name]}])

    assert sign_in_by_provider(issuer).json()["code"] == "provider_refused"


@pytest.mark.parametrize("name", BODIES)
def test_exchange_code_refuses_malformed_token_responses(issuer, name):
    client, callback_params = start_sign_in(issuer)
    issuer.configure(token=[200, BODIES[name]])

    assert post_auth(client, LOGIN, callback_params).json()["code"] in {"provider_refused", "provider_away"}


@pytest.mark.parametrize("name", KEYS)
def test_exchange_code_refuses_malformed_keys(issuer, name):
    issuer.configure(jwks=KEYS[name])

    assert sign_in_by_provider(issuer).json()["code"] == "provider_refused"


@pytest.mark.parametrize("name", METADATA)
def test_authorization_url_refuses_malformed_metadata(issuer, name):
    issuer.configure(metadata=METADATA[name])

    assert post_auth(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"


@pytest.mark.parametrize("methods", [5, None, "x", [], ["client_secret_basic"]])
def test_exchange_code_survives_malformed_auth_methods(issuer, methods):
    issuer.configure(metadata={"token_endpoint_auth_methods_supported": methods})

    assert sign_in_by_provider(issuer).status_code in {200, 401}


def test_exchange_code_skips_unknown_key_types(issuer):
    published = json.loads(json.dumps(issuer.published_keys()))
    issuer.configure(jwks={"keys": [{"kty": "AKP", "kid": "new"}, *published["keys"]]})

    assert sign_in_by_provider(issuer).status_code == 200


def test_authorization_url_limits_the_duration_of_a_slow_response(issuer, monkeypatch):
    monkeypatch.setattr(outbound, "TOTAL_SECONDS", 1.0)
    issuer.configure(drip=0.05)
    started_at = time.monotonic()

    assert post_auth(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"
    assert time.monotonic() - started_at < 5  # the complete document would take twenty


def test_authorization_url_refuses_a_provider_in_the_private_network(issuer, settings):
    settings.OUTBOUND_ALLOWED_NETWORKS = []

    assert post_auth(Client(), f"{LOGIN}/options").json()["code"] == "provider_away"


def test_exchange_code_sends_no_code_to_a_private_network_that_the_metadata_names(issuer, settings):
    settings.OUTBOUND_ALLOWED_NETWORKS = [ipaddress.ip_network("127.0.0.1/32")]
    with socket.create_server(("127.0.0.2", 0)) as private_server:
        port = private_server.getsockname()[1]
        issuer.configure(metadata={"token_endpoint": f"https://127.0.0.2:{port}/token"})
        response = sign_in_by_provider(issuer)
        private_server.setblocking(False)
        with pytest.raises(BlockingIOError):  # nobody has connected
            private_server.accept()

    assert response.json()["code"] == "provider_away"


@pytest.mark.parametrize(
    "spelling",
    ["ａda@example.com", "ada@ｅxample.com", "ⓐda@example.com", "ada＠example.com", "aͅda@example.com"],
)
def test_sign_in_by_oidc_refuses_look_alike_addresses(issuer, spelling):
    verified_user(EMAIL)
    issuer.configure(claims={"email": spelling})

    assert sign_in_by_provider(issuer).json()["code"] == "provider_email_unverified"


@pytest.mark.parametrize("spelling", [" ada@example.com", "ADA@Example.com"])
def test_sign_in_by_oidc_ignores_case_and_space_of_the_address(issuer, spelling):
    user = verified_user(EMAIL)
    issuer.configure(claims={"email": spelling})

    assert sign_in_by_provider(issuer).json()["user"]["id"] == str(user.pk)


@pytest.mark.parametrize("kid", [{}, {"no_kid": True}], ids=["kid", "no kid"])
@pytest.mark.parametrize("algorithm", oidc.ALGORITHMS)
def test_exchange_code_accepts_every_asymmetric_signature(issuer, algorithm, kid):
    issuer.configure(algorithm=algorithm, **kid)

    assert sign_in_by_provider(issuer).status_code == 200


def test_exchange_code_fetches_a_key_that_was_replaced_under_its_kid(issuer):
    assert sign_in_by_provider(issuer).status_code == 200

    issuer.configure(replaced=True)
    assert sign_in_by_provider(issuer).status_code == 200
    issuer.configure(key="unpublished", second=True)  # another key under a new kid, soon after
    assert sign_in_by_provider(issuer).status_code == 200


def test_a_run_of_bad_tokens_does_not_fetch_the_keys_each_time(issuer, monkeypatch):
    fetches = []
    fetch_keys = oidc._fetch_keys
    monkeypatch.setattr(oidc, "_fetch_keys", lambda *args: fetches.append(1) or fetch_keys(*args))
    issuer.configure(key="unpublished")

    for _ in range(10):
        assert sign_in_by_provider(issuer).status_code == 401

    assert len(fetches) == 1 + oidc.KEY_REFETCHES_AT_ONCE
    issuer.configure()
    assert sign_in_by_provider(issuer).status_code == 200  # a known key needs no fetch


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"aud": ["getyousite", "https://idp.example/api"]}, 200),
        ({"aud": ["https://idp.example/api", "getyousite"], "azp": "getyousite"}, 200),
        ({"aud": ["getyousite"]}, 200),
        ({"azp": "getyousite"}, 200),
        ({"aud": ["getyousite", "https://idp.example/api"], "azp": "another"}, 401),
        ({"azp": "another"}, 401),
        ({"aud": ["https://idp.example/api"]}, 401),
        ({"aud": []}, 401),
    ],
)
def test_exchange_code_accepts_several_audiences_when_ours_is_one(issuer, claims, status):
    issuer.configure(claims=claims)

    assert sign_in_by_provider(issuer).status_code == status


def test_a_person_whose_userinfo_is_refused_enters_and_closes_nobody_elses_way(issuer):
    assert sign_in_by_provider(issuer).status_code == 200  # from now on their subject is known
    issuer.configure(claims={"email": None}, userinfo_status=403)

    assert sign_in_by_provider(issuer).status_code == 200
    issuer.configure(claims={"sub": "somebody-new", "email": None}, userinfo_status=404)
    assert sign_in_by_provider(issuer).status_code == 403  # a new account needs an address
    issuer.configure(claims={"sub": "another", "email": "another@example.com"})
    assert sign_in_by_provider(issuer).status_code == 200


def test_exchange_code_uses_the_claims_of_a_signed_userinfo_response(issuer):
    userinfo = {"sub": "248289761001", "email": "ada@example.com", "email_verified": True}
    foreign = [{"iss": "https://another.example"}, {"aud": "another"}, {"aud": ["another"]}]
    refused = [("unpublished", {}), *(("published", claims) for claims in foreign)]
    for signer, claims in refused:
        issuer.configure(claims={"email": None}, userinfo=userinfo | claims, signed_userinfo=signer)
        assert sign_in_by_provider(issuer).status_code == 401

    for claims in ({}, {"iss": issuer.url, "aud": ["getyousite", "another"]}):
        issuer.configure(claims={"email": None}, userinfo=userinfo | claims, signed_userinfo="published")
        assert sign_in_by_provider(issuer).status_code == 200
