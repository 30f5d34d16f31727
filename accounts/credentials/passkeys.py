"""WebAuthn (W3C, level 3) by the `webauthn` library: options for the browser, and verifying its responses."""

import base64
import binascii
import json
from typing import Any

from django.conf import settings

from accounts.errors import PasskeyRefused
from accounts.models import Passkey, User

MAX_CREDENTIAL_ID_BYTES = 1023  # WebAuthn, section 6.5.1


def allowed_origins() -> list[str]:
    """Return the origins whose pages may use passkeys: our own and CORS_ORIGINS."""
    return sorted({*settings.APP_ORIGINS, *settings.CORS_ALLOWED_ORIGINS})


def registration_options(user: User, existing: list[Passkey], nonce: bytes) -> dict[str, Any]:
    """Return PublicKeyCredentialCreationOptions as JSON values.

    The credential is discoverable, so that it can sign in without an e-mail address.
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
    """Return the fields of a Passkey from the result of `navigator.credentials.create`.

    Raises PasskeyRefused.
    """
    from webauthn import verify_registration_response
    from webauthn.helpers.structs import AttestationFormat

    try:
        registration = verify_registration_response(
            credential=credential,
            expected_challenge=nonce,
            expected_rp_id=settings.PASSKEY_DOMAIN,
            expected_origin=allowed_origins(),
            require_user_verification=False,
        )
        transports = [str(item)[:20] for item in credential["response"].get("transports", [])][:10]
    except Exception:  # noqa: BLE001 - the parsers of untrusted CBOR, COSE and X.509 raise many types
        raise PasskeyRefused from None
    if registration.fmt != AttestationFormat.NONE:  # the options request no attestation
        raise PasskeyRefused
    if len(registration.credential_id) > MAX_CREDENTIAL_ID_BYTES:
        raise PasskeyRefused
    return {
        "credential_id": registration.credential_id,
        "public_key": registration.credential_public_key,
        "sign_count": registration.sign_count,
        "transports": transports,
    }


def authentication_options(
    allowed: list[Passkey], nonce: bytes, *, user_verification_required: bool = False
) -> dict[str, Any]:
    """Return PublicKeyCredentialRequestOptions as JSON values.

    With an empty `allowed` the browser offers all its passkeys for this site.
    """
    from webauthn import generate_authentication_options, options_to_json
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor, UserVerificationRequirement

    options = generate_authentication_options(
        rp_id=settings.PASSKEY_DOMAIN,
        challenge=nonce,
        allow_credentials=[PublicKeyCredentialDescriptor(id=bytes(key.credential_id)) for key in allowed],
        user_verification=(
            UserVerificationRequirement.REQUIRED
            if user_verification_required
            else UserVerificationRequirement.PREFERRED
        ),
    )
    return dict(json.loads(options_to_json(options)))


def parse_credential_id(credential: dict[str, Any]) -> bytes:
    """Return the id in a browser's response. Raises PasskeyRefused.

    An id that is too long is cut to one byte more than the maximum, so that it matches no stored passkey.
    """
    try:
        encoded = credential["rawId"]
        decoded = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        return decoded[: MAX_CREDENTIAL_ID_BYTES + 1]
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise PasskeyRefused from None


def verify_assertion(
    credential: dict[str, Any], nonce: bytes, passkey: Passkey, *, user_verification_required: bool
) -> int:
    """Verify the result of `navigator.credentials.get`. Returns the authenticator's new signature counter.

    Raises PasskeyRefused.
    """
    from webauthn import verify_authentication_response

    try:
        authentication = verify_authentication_response(
            credential=credential,
            expected_challenge=nonce,
            expected_rp_id=settings.PASSKEY_DOMAIN,
            expected_origin=allowed_origins(),
            credential_public_key=bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=user_verification_required,
        )
    except Exception:  # noqa: BLE001 - as in verify_registration
        raise PasskeyRefused from None
    return int(authentication.new_sign_count)
