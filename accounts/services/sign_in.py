"""Authentication by password, second factor or passkey: at sign-in, and again before sensitive actions."""

import hashlib
import re
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.db import transaction

from accounts.credentials import challenges, known_devices, passkeys, throttling
from accounts.credentials.hashing import HashingBusy
from accounts.credentials.known_devices import Device
from accounts.credentials.throttling import Bucket
from accounts.errors import (
    ChallengeRefused,
    CodeRefused,
    CredentialsRefused,
    EmailUnverified,
    MfaRequired,
    PasskeyRefused,
)
from accounts.models import Passkey, Session, Totp, User, normalise_email
from accounts.selectors import factors_of
from accounts.services.email_links import request_verification
from accounts.services.mfa import consume_recovery_code, consume_totp_code, verify_passkey
from accounts.services.sessions import open_session
from audit import actors
from audit.actors import ANONYMOUS
from audit.services import record
from audit.subjects import Subject

# A hash at the configured cost, verified for unknown addresses so that they take as long as known ones.
DUMMY_ARGON2_HASH = (
    "argon2$argon2id$v=19$m=65536,t=3,p=4$Z2V0eW91c2l0ZS1ub2JvZHk$0Zb1o8SVZDQfT0VvB6qNCYzkBDHVcKXnrbnXKUtPkVg"
)
EMAIL_PATTERN = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
SECOND_FACTOR_PURPOSE = "second factor"
PASSKEY_SIGN_IN_PURPOSE = "passkey sign-in"
PASSKEY_REAUTHENTICATION_PURPOSE = "passkey reauthentication"


def check_credentials(email: str, secret: str, *, device: Device, scheme: str = User.Scheme.PASSWORD) -> User:
    """Return the user of an address and a secret.

    `secret` is the password, or the auth hash of a zero-knowledge account; neither is accepted in place of
    the other. Hashes exactly once for every address, known or not. Raises CredentialsRefused,
    TooManyAttempts, HashingBusy.
    """
    address = normalise_email(email)
    user = User.objects.alive().filter(email=address, is_active=True).first()
    buckets = _throttle_buckets("password", address, user, device)
    throttling.reserve_attempt(buckets)
    stored_hash = user.password if user and user.scheme == scheme else ""
    try:
        matches = check_password(secret, stored_hash or DUMMY_ARGON2_HASH)
    except HashingBusy:
        throttling.release_attempt(buckets, succeeded=False)
        raise
    if not matches or not stored_hash or user is None:
        # What does not look like an address may be a password typed into the wrong field.
        personal = {"tried": address} if EMAIL_PATTERN.fullmatch(address) else {}
        record(
            "sign_in.failed",
            actor=ANONYMOUS,
            subject=user or Subject("user"),
            personal=personal,
            factor="password",
        )
        raise CredentialsRefused
    throttling.release_attempt(buckets, succeeded=True)
    return user


def _throttle_buckets(kind: str, account: str, user: User | None, device: Device) -> list[Bucket]:
    """Return the throttling buckets of an attempt.

    A known device of the user has a bucket of its own. Other attempts count for their network and for the
    account as tried from that network.
    """
    nonce = known_devices.find_device_nonce(user, device) if user else ""
    if nonce:
        return [Bucket(f"{kind}:device:{nonce}", free_attempts=10, max_delay_seconds=900)]
    account_digest = hashlib.sha256(account.encode()).hexdigest()[:32]  # Redis stores no addresses
    return [
        Bucket(f"{kind}:{device.client}:{account_digest}", free_attempts=5, max_delay_seconds=900),
        Bucket(f"{kind}:{device.client}", free_attempts=30, max_delay_seconds=300, per_account=False),
    ]


def open_session_after_first_factor(user: User, *, method: str, device: Device, now: datetime) -> Session:
    """Open a session for a user authenticated by `method`, unless another step is needed.

    Raises EmailUnverified, MfaRequired, CredentialsRefused.
    """
    _require_verified_email(user, now=now)
    _require_second_factor(user, completed_method=method, now=now)
    return open_session(user, device=device, now=now, method=method)


def _require_verified_email(user: User, *, now: datetime) -> None:
    """Raise EmailUnverified and mail a link if the address must be verified and is not."""
    if settings.EMAIL_VERIFICATION_REQUIRED and not user.email_verified_at:
        request_verification(user, now=now)
        raise EmailUnverified


def _require_second_factor(user: User, *, completed_method: str, now: datetime) -> None:
    """Raise MfaRequired with a challenge when the user has second factors."""
    factors = factors_of(user.pk)
    if not factors.any:
        return
    token, nonce = challenges.issue_challenge(
        SECOND_FACTOR_PURPOSE, user=user, now=now, completed_method=completed_method
    )
    members: dict[str, Any] = {
        "challenge": token,
        "expires_in": int(challenges.CHALLENGE_LIFETIME.total_seconds()),
        "methods": factors.methods,
    }
    if factors.passkeys:
        user_passkeys = list(Passkey.objects.filter(user=user))
        members["public_key"] = passkeys.authentication_options(user_passkeys, nonce)
    raise MfaRequired(members)


def open_session_after_second_factor(
    challenge: str, factor: dict[str, Any], *, device: Device, now: datetime
) -> Session:
    """Open a session for a challenge of MfaRequired and one of `code`, `recovery_code` or `credential`.

    Raises ChallengeRefused, CodeRefused, PasskeyRefused, TooManyAttempts, CredentialsRefused.
    """
    verified_challenge = challenges.verify_challenge(challenge, SECOND_FACTOR_PURPOSE, now=now)
    assert verified_challenge.user_id, "challenges of this purpose always name a user"
    user = (
        User.objects.alive()
        .filter(pk=verified_challenge.user_id, is_active=True, epoch=verified_challenge.epoch)
        .first()
    )
    if user is None:
        raise ChallengeRefused
    second_method = verify_second_factor(user, factor, challenge=verified_challenge, device=device, now=now)
    method = f"{verified_challenge.completed_method}+{second_method}"
    return open_session(user, device=device, now=now, method=method)


def verify_second_factor(
    user: User,
    factor: dict[str, Any],
    *,
    challenge: challenges.Challenge | None,
    device: Device,
    now: datetime,
) -> str:
    """Accept a second factor. Returns its method. A code and the challenge are used up.

    The caller has already proved the password. Past 20 wrong TOTP codes in six hours the account itself is
    throttled, except on known devices; the failures are in its owner's audit log. Passkeys and recovery codes
    cannot be guessed and are not throttled by account. Raises ChallengeRefused, CodeRefused, PasskeyRefused,
    TooManyAttempts.
    """
    buckets = _throttle_buckets("factor", user.pk.hex, user, device)
    if "code" in factor and not known_devices.find_device_nonce(user, device):
        buckets.append(Bucket(f"factor:{user.pk.hex}", free_attempts=20, max_delay_seconds=3600))
    throttling.reserve_attempt(buckets)
    try:
        method = _consume_second_factor(user, factor, challenge=challenge, now=now)
    except (CodeRefused, PasskeyRefused):
        record("sign_in.failed", actor=ANONYMOUS, subject=user, factor=next(iter(factor)))
        raise
    except ChallengeRefused:
        throttling.release_attempt(buckets, succeeded=False)
        raise
    throttling.release_attempt(buckets, succeeded=True)
    return method


@transaction.atomic  # a spent challenge must not use up the code that came with it
def _consume_second_factor(
    user: User, factor: dict[str, Any], *, challenge: challenges.Challenge | None, now: datetime
) -> str:
    if "credential" in factor:
        if challenge is None:
            raise PasskeyRefused
        passkey_user = verify_passkey(
            factor["credential"], challenge, user_verification_required=False, now=now
        )
        if passkey_user != user:
            raise PasskeyRefused
        return "passkey"
    if "recovery_code" in factor:
        consume_recovery_code(user, factor["recovery_code"], now=now)
    else:
        totp = Totp.objects.filter(user=user).exclude(confirmed_at=None).first()
        if totp is None:
            raise CodeRefused
        consume_totp_code(totp, factor["code"], now=now)
    if challenge:
        challenges.spend_challenge(challenge)
    return "recovery_code" if "recovery_code" in factor else "totp"


def begin_passkey_sign_in(*, now: datetime) -> tuple[str, dict[str, Any]]:
    """Return a challenge token and the options for `navigator.credentials.get`, for a user not yet known."""
    token, nonce = challenges.issue_challenge(PASSKEY_SIGN_IN_PURPOSE, user=None, now=now)
    return token, passkeys.authentication_options([], nonce, user_verification_required=True)


def verify_passkey_sign_in(challenge: str, credential: dict[str, Any], *, now: datetime) -> User:
    """Return the user whose passkey signed the challenge with user verification.

    Raises ChallengeRefused, PasskeyRefused.
    """
    verified_challenge = challenges.verify_challenge(challenge, PASSKEY_SIGN_IN_PURPOSE, now=now)
    try:
        return verify_passkey(credential, verified_challenge, user_verification_required=True, now=now)
    except PasskeyRefused:
        record("sign_in.failed", actor=ANONYMOUS, subject=Subject("user"), factor="passkey")
        raise


def sign_in_by_passkey(
    challenge: str, credential: dict[str, Any], *, device: Device, now: datetime
) -> Session:
    """Open a session by a passkey alone.

    Raises ChallengeRefused, PasskeyRefused, EmailUnverified, CredentialsRefused.
    """
    user = verify_passkey_sign_in(challenge, credential, now=now)
    _require_verified_email(user, now=now)
    return open_session(user, device=device, now=now, method="passkey")


def reauthenticate(session: Session, proof: dict[str, Any], *, device: Device, now: datetime) -> None:
    """Authenticate the user of a session again and set its `proved_at`.

    `proof` is one of `password`, `auth_hash`, `code`, `recovery_code`, or `credential` with `challenge`.
    Raises CredentialsRefused, ChallengeRefused, CodeRefused, PasskeyRefused, TooManyAttempts, HashingBusy.
    """
    user = session.user
    if "password" in proof or "auth_hash" in proof:
        scheme = User.Scheme.PASSWORD if "password" in proof else User.Scheme.ZERO_KNOWLEDGE
        secret = proof.get("password") or proof["auth_hash"]
        if check_credentials(user.email, secret, device=device, scheme=scheme) != user:
            raise CredentialsRefused
    else:
        challenge = None
        if "challenge" in proof:
            challenge = challenges.verify_challenge(
                proof["challenge"], PASSKEY_REAUTHENTICATION_PURPOSE, now=now
            )
        factor: dict[str, Any] = {
            name: proof[name] for name in ("code", "recovery_code", "credential") if name in proof
        }
        verify_second_factor(user, factor, challenge=challenge, device=device, now=now)
    Session.objects.filter(pk=session.pk).update(proved_at=now)
    record("session.proved", actor=actors.user(user), subject=session)


def begin_passkey_reauthentication(user: User, *, now: datetime) -> tuple[str, dict[str, Any]]:
    """Return a challenge token and the options for reauthenticating by passkey."""
    token, nonce = challenges.issue_challenge(PASSKEY_REAUTHENTICATION_PURPOSE, user=user, now=now)
    return token, passkeys.authentication_options(list(user.passkeys.all()), nonce)
