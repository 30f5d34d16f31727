"""Proving who one is: password, second factor, passkey; at the door and again later."""

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

# A hash of nothing, at the declared cost: somebody unknown costs what somebody known does.
DUMMY_ARGON2_HASH = (
    "argon2$argon2id$v=19$m=65536,t=3,p=4$Z2V0eW91c2l0ZS1ub2JvZHk$0Zb1o8SVZDQfT0VvB6qNCYzkBDHVcKXnrbnXKUtPkVg"
)
EMAIL_PATTERN = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
SECOND_FACTOR_PURPOSE = "second factor"
PASSKEY_SIGN_IN_PURPOSE = "passkey sign-in"
PASSKEY_REAUTHENTICATION_PURPOSE = "passkey reauthentication"


def check_credentials(email: str, secret: str, *, device: Device, scheme: str = User.Scheme.PASSWORD) -> User:
    """The user these belong to.

    `secret` is the password or, for a blind account, what its client derived: one never stands for the other.
    Raises CredentialsRefused, TooManyAttempts; hashes exactly once whoever asks.
    """
    address = normalise_email(email)
    user = User.objects.alive().filter(email=address, is_active=True).first()
    buckets = _throttle_buckets("password", address, user, device)
    throttling.reserve_attempt(buckets)
    expected = user.password if user and user.scheme == scheme else ""
    try:
        right = check_password(secret, expected or DUMMY_ARGON2_HASH)
    except HashingBusy:
        throttling.release_attempt(buckets, proved=False)
        raise
    if not right or not expected or user is None:
        about = user or Subject("user")
        tried = (
            {"tried": address} if EMAIL_PATTERN.fullmatch(address) else {}
        )  # else it may be a password in the wrong field
        record("sign_in.failed", actor=ANONYMOUS, subject=about, personal=tried, factor="password")
        raise CredentialsRefused
    throttling.release_attempt(buckets, proved=True)
    return user


def _throttle_buckets(what: str, account: str, user: User | None, device: Device) -> list[Bucket]:
    """What this attempt counts against."""
    nonce = known_devices.find_device_nonce(user, device) if user else ""
    if nonce:
        return [Bucket(f"{what}:device:{nonce}", free=10, longest=900)]
    who = hashlib.sha256(account.encode()).hexdigest()[:32]  # Redis keeps no address
    return [
        Bucket(f"{what}:{device.client}:{who}", free=5, longest=900),
        Bucket(f"{what}:{device.client}", free=30, longest=300, own=False),
    ]


def open_session_after_first_factor(user: User, *, method: str, device: Device, now: datetime) -> Session:
    """A session for who proved who they are by `method`. Raises EmailUnverified, MfaRequired."""
    _require_verified_email(user, now=now)
    _require_second_factor(user, after=method, now=now)
    return open_session(user, device=device, now=now, method=method)


def _require_verified_email(user: User, *, now: datetime) -> None:
    """Raise EmailUnverified, with a link on its way, where this installation asks for a confirmed address."""
    if settings.EMAIL_VERIFICATION_REQUIRED and not user.email_verified_at:
        request_verification(user, now=now)
        raise EmailUnverified


def _require_second_factor(user: User, *, after: str, now: datetime) -> None:
    """Raise MfaRequired when this user has one."""
    factors = factors_of(user.pk)
    if not factors.any:
        return
    token, nonce = challenges.issue_challenge(SECOND_FACTOR_PURPOSE, user=user, now=now, after=after)
    members: dict[str, Any] = {
        "challenge": token,
        "expires_in": int(challenges.CHALLENGE_LIFETIME.total_seconds()),
        "methods": factors.methods,
    }
    if factors.passkeys:
        members["public_key"] = passkeys.authentication_options(
            list(Passkey.objects.filter(user=user)), nonce
        )
    raise MfaRequired(members)


def open_session_after_second_factor(
    challenge: str, answer: dict[str, Any], *, device: Device, now: datetime
) -> Session:
    """A session for who answered the challenge with `code`, `recovery_code` or `credential`.

    Raises ChallengeRefused, CodeRefused, PasskeyRefused, TooManyAttempts.
    """
    asked = challenges.verify_challenge(challenge, SECOND_FACTOR_PURPOSE, now=now)
    assert asked.user_id, "issued to somebody"
    user = User.objects.alive().filter(pk=asked.user_id, is_active=True, epoch=asked.epoch).first()
    if user is None:
        raise ChallengeRefused
    method = verify_second_factor(user, answer, asked=asked, device=device, now=now)
    return open_session(user, device=device, now=now, method=f"{asked.after}+{method}")


def verify_second_factor(
    user: User, answer: dict[str, Any], *, asked: challenges.Challenge | None, device: Device, now: datetime
) -> str:
    """Judge a second factor; return which it was. A code is good once, and so is `asked`.

    Whoever comes here had the password: past 20 wrong codes in six hours an account waits too, unless its
    device is known, and tells its owner by the trail. A passkey and a recovery code cannot be guessed and do
    not wait with it.
    """
    buckets = _throttle_buckets("factor", user.pk.hex, user, device)
    if "code" in answer and not known_devices.find_device_nonce(user, device):
        buckets.append(Bucket(f"factor:{user.pk.hex}", free=20, longest=3600))
    throttling.reserve_attempt(buckets)
    try:
        method = _consume_second_factor(user, answer, asked=asked, now=now)
    except (CodeRefused, PasskeyRefused):
        record("sign_in.failed", actor=ANONYMOUS, subject=user, factor=next(iter(answer)))
        raise
    except ChallengeRefused:
        throttling.release_attempt(buckets, proved=False)
        raise
    throttling.release_attempt(buckets, proved=True)
    return method


@transaction.atomic  # a code that came with a challenge of the past is not used up
def _consume_second_factor(
    user: User, answer: dict[str, Any], *, asked: challenges.Challenge | None, now: datetime
) -> str:
    if "credential" in answer:
        if asked is None or verify_passkey(answer["credential"], asked, alone=False, now=now) != user:
            raise PasskeyRefused
        return "passkey"
    if "recovery_code" in answer:
        consume_recovery_code(user, answer["recovery_code"], now=now)
    else:
        totp = Totp.objects.filter(user=user).exclude(confirmed_at=None).first()
        if totp is None:
            raise CodeRefused
        consume_totp_code(totp, answer["code"], now=now)
    if asked:
        challenges.spend_challenge(asked)
    return "recovery_code" if "recovery_code" in answer else "totp"


def begin_passkey_sign_in(*, now: datetime) -> tuple[str, dict[str, Any]]:
    """A challenge for whoever has a passkey, and options for `navigator.credentials.get`. Nobody is named."""
    token, nonce = challenges.issue_challenge(PASSKEY_SIGN_IN_PURPOSE, user=None, now=now)
    return token, passkeys.authentication_options([], nonce, alone=True)


def verify_passkey_sign_in(challenge: str, credential: dict[str, Any], *, now: datetime) -> User:
    """Whose passkey answered the challenge, with its owner verified.

    Raises ChallengeRefused, PasskeyRefused.
    """
    asked = challenges.verify_challenge(challenge, PASSKEY_SIGN_IN_PURPOSE, now=now)
    try:
        return verify_passkey(credential, asked, alone=True, now=now)
    except PasskeyRefused:
        record("sign_in.failed", actor=ANONYMOUS, subject=Subject("user"), factor="passkey")
        raise


def sign_in_by_passkey(
    challenge: str, credential: dict[str, Any], *, device: Device, now: datetime
) -> Session:
    """A session for the owner of a passkey. Raises ChallengeRefused, PasskeyRefused, EmailUnverified."""
    user = verify_passkey_sign_in(challenge, credential, now=now)
    _require_verified_email(user, now=now)
    return open_session(user, device=device, now=now, method="passkey")


def reauthenticate(session: Session, answer: dict[str, Any], *, device: Device, now: datetime) -> None:
    """A signed-in user proves again who they are, by password, code, recovery code or passkey.

    Raises what a wrong proof at the door raises.
    """
    user = session.user
    if "password" in answer or "auth_hash" in answer:
        scheme = User.Scheme.PASSWORD if "password" in answer else User.Scheme.BLIND
        secret = answer.get("password") or answer["auth_hash"]
        if check_credentials(user.email, secret, device=device, scheme=scheme) != user:
            raise CredentialsRefused
    else:
        asked = (
            challenges.verify_challenge(answer["challenge"], PASSKEY_REAUTHENTICATION_PURPOSE, now=now)
            if "challenge" in answer
            else None
        )
        factor: dict[str, Any] = {
            name: answer[name] for name in ("code", "recovery_code", "credential") if name in answer
        }
        verify_second_factor(user, factor, asked=asked, device=device, now=now)
    Session.objects.filter(pk=session.pk).update(proved_at=now)
    record("session.proved", actor=actors.user(user), subject=session)


def begin_passkey_reauthentication(user: User, *, now: datetime) -> tuple[str, dict[str, Any]]:
    """A challenge and options for proving again by passkey."""
    token, nonce = challenges.issue_challenge(PASSKEY_REAUTHENTICATION_PURPOSE, user=user, now=now)
    return token, passkeys.authentication_options(list(user.passkeys.all()), nonce)
