"""Sensitive actions, and authenticating again."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Session
from conftest import PASSWORD

pytestmark = pytest.mark.django_db


SENSITIVE = [
    ("post", "auth/totp"),
    ("post", "auth/totp/confirm"),
    ("delete", "auth/totp"),
    ("post", "auth/recovery-codes"),
    ("post", "auth/passkeys/options"),
    ("post", "auth/passkeys"),
    ("post", "auth/email/change"),
    ("post", "api-keys"),
    ("delete", "auth/me"),
]


@pytest.mark.parametrize(("method", "path"), SENSITIVE)
def test_recent_proof_is_required_for_sensitive_actions(world, method, path):
    Session.objects.filter(pk=world.api.session.pk).update(proved_at=timezone.now() - timedelta(minutes=5))

    refused = world.api.call(method.upper(), path, {} if method == "post" else None, if_match="*")

    assert (refused.status_code, refused.json()["code"]) == (403, "reauthentication_required")
    assert world.api.post("auth/reauthenticate", {"password": PASSWORD}).status_code == 204
    after = world.api.call(method.upper(), path, {} if method == "post" else None, if_match="*")
    assert after.status_code != 403


def test_reauthenticate_accepts_every_method(world):
    app = world.add_totp()
    world.add_passkey()
    code = world.api.post("auth/recovery-codes").json()["recovery_codes"][0]
    challenge_response = world.api.post("auth/reauthenticate/passkey/options").json()
    credential = world.authenticator.get(challenge_response["public_key"])
    proofs = [
        {"password": PASSWORD},
        {"code": app.now()},
        {"recovery_code": code},
        {"credential": credential, "challenge": challenge_response["challenge"]},
    ]
    for proof in proofs:
        Session.objects.update(proved_at=timezone.now() - timedelta(hours=1))
        assert world.api.post("auth/reauthenticate", proof).status_code == 204, proof
        assert Session.objects.get(pk=world.api.session.pk).proved_at > timezone.now() - timedelta(minutes=1)
        again = world.api.post("auth/reauthenticate", proof).status_code
        assert again == (204 if "password" in proof else 401)


@pytest.mark.parametrize(
    "proof", [{"password": "wrong password"}, {"code": "000000"}, {"recovery_code": "x"}]
)
def test_reauthenticate_refuses_wrong_proofs(world, proof):
    Session.objects.update(proved_at=timezone.now() - timedelta(hours=1))

    assert world.api.post("auth/reauthenticate", proof).status_code == 401
    assert world.api.post("auth/totp").status_code == 403


@pytest.mark.parametrize(
    "proof", [{}, {"password": "a", "code": "123456"}, {"credential": {}}, {"challenge": "x"}]
)
def test_reauthenticate_requires_exactly_one_proof(world, proof):
    assert world.api.post("auth/reauthenticate", proof).status_code == 400
