"""WebAuthn (W3C, level 3) by the `webauthn` library: options for the browser, and what it sends back."""

import base64
import binascii
import json
from typing import Any

from django.conf import settings

from accounts.errors import PasskeyRefused
from accounts.models import Passkey, User

MAX_CREDENTIAL_ID_BYTES = 1023  # bytes of a credential id (WebAuthn, 6.5.1)


def allowed_origins() -> list[str]:
    """Pages that may use passkeys: our own and the named front ends."""
    return sorted({*settings.APP_ORIGINS, *settings.CORS_ALLOWED_ORIGINS})


def registration_options(user: User, existing: list[Passkey], nonce: bytes) -> dict[str, Any]:
    """PublicKeyCredentialCreationOptions as JSON.

    The credential is discoverable, so it can sign in without an address.
    """
    from webauthn import generate_registration_options, options_to_json
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        PublicKeyCredentialDescriptor,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    options = generate_registration_options(
        rp_id=settings.PASSKEY_DOMAIN,
        rp_name="Getyousite",
        user_id=user.pk.bytes,
        user_name=user.email,
        user_display_name=user.name or user.email,
        challenge=nonce,
        exclude_credentials=[PublicKeyCredentialDescriptor(id=bytes(key.credential_id)) for key in existing],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.PREFERRED,
        ),
    )
    return dict(json.loads(options_to_json(options)))


def verify_registration(credential: dict[str, Any], nonce: bytes) -> dict[str, Any]:
    """Fields of a Passkey from what `navigator.credentials.create` gave. Raises PasskeyRefused."""
    from webauthn import verify_registration_response
    from webauthn.helpers.structs import AttestationFormat

    try:
        found = verify_registration_response(
            credential=credential,
            expected_challenge=nonce,
            expected_rp_id=settings.PASSKEY_DOMAIN,
            expected_origin=allowed_origins(),
            require_user_verification=False,
        )
        transports = [str(item)[:20] for item in credential["response"].get("transports", [])][:10]
    except Exception:  # noqa: BLE001 - CBOR, COSE and X.509 of a stranger: their parsers raise what they like
        raise PasskeyRefused from None
    if (
        found.fmt != AttestationFormat.NONE or len(found.credential_id) > MAX_CREDENTIAL_ID_BYTES
    ):  # we ask for no attestation
        raise PasskeyRefused
    return {
        "credential_id": found.credential_id,
        "public_key": found.credential_public_key,
        "sign_count": found.sign_count,
        "transports": transports,
    }


def authentication_options(allowed: list[Passkey], nonce: bytes, *, alone: bool = False) -> dict[str, Any]:
    """PublicKeyCredentialRequestOptions as JSON. Without `allowed` the browser offers what it has."""
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor, UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=settings.PASSKEY_DOMAIN,
        challenge=nonce,
        allow_credentials=[PublicKeyCredentialDescriptor(id=bytes(key.credential_id)) for key in allowed],
        user_verification=UserVerificationRequirement.REQUIRED
        if alone
        else UserVerificationRequirement.PREFERRED,
    )
    return dict(json.loads(options_to_json(options)))


def parse_credential_id(credential: dict[str, Any]) -> bytes:
    """Raises PasskeyRefused."""
    try:
        raw = credential["rawId"]
        return base64.urlsafe_b64decode(raw + "=" * (-len(raw) % 4))[: MAX_CREDENTIAL_ID_BYTES + 1]
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise PasskeyRefused from None


def verify_assertion(credential: dict[str, Any], nonce: bytes, passkey: Passkey, *, verified: bool) -> int:
    """The authenticator's new counter. `verified`: it must have checked its user. Raises PasskeyRefused."""
    from webauthn import verify_authentication_response

    try:
        found = verify_authentication_response(
            credential=credential,
            expected_challenge=nonce,
            expected_rp_id=settings.PASSKEY_DOMAIN,
            expected_origin=allowed_origins(),
            credential_public_key=bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=verified,
        )
    except Exception:  # noqa: BLE001 - as above
        raise PasskeyRefused from None
    return int(found.new_sign_count)
