"""Second factors: authenticator app (TOTP), recovery codes, passkeys.

Every change is recorded in the audit log and mailed to the owner.
"""

import hashlib
import hmac
import secrets
from datetime import datetime
from typing import Any
from uuid import UUID

import pyotp
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.credentials import challenges, passkeys
from accounts.errors import (
    CodeRefused,
    FactorExists,
    FactorMissing,
    LastFactor,
    PasskeyRefused,
    TooManyObjects,
)
from accounts.models import Passkey, RecoveryCode, Totp, User
from accounts.selectors import factors_of
from accounts.services.locks import lock_active_user
from accounts.services.roles import require_permissions_within
from audit import actors
from audit.actors import Actor
from audit.services import record
from audit.subjects import Subject
from core.jobs import mail

STEP_SECONDS = 30
ACCEPTED_STEP_OFFSETS = (0, -1, 1)  # a phone's clock may differ by one step
RECOVERY_CODE_COUNT = 10
RECOVERY_CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # without the look-alikes 0, O, 1 and I
RECOVERY_CODE_CHARACTERS = 16  # 80 bits
MAX_PASSKEYS_PER_USER = 20


def begin_totp(user: User) -> str:
    """Store a new TOTP secret and return it (base32, 160 bits).

    It takes effect when `confirm_totp` receives a code. Raises FactorExists, CredentialsRefused.
    """
    secret = pyotp.random_base32()
    with transaction.atomic():
        lock_active_user(user)
        if Totp.objects.filter(user=user).exclude(confirmed_at=None).exists():
            raise FactorExists
        Totp.objects.update_or_create(
            user=user, defaults={"secret": secret, "last_step": 0, "confirmed_at": None}
        )
        record("totp.begun", actor=actors.user(user), subject=_subject(user))
    return secret


def provisioning_uri(user: User, secret: str) -> str:
    """Return the `otpauth://` URI that an authenticator app reads from the QR code (Key Uri Format)."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=settings.APP_HOST)


@transaction.atomic
def confirm_totp(user: User, code: str, *, now: datetime) -> list[str]:
    """Activate the authenticator app. Returns new recovery codes, or none when the user has unused ones.

    Raises CodeRefused, FactorMissing, CredentialsRefused.
    """
    lock_active_user(user)
    totp = Totp.objects.filter(user=user, confirmed_at=None).first()
    if totp is None:
        raise FactorMissing
    consume_totp_code(totp, code, now=now)
    Totp.objects.filter(pk=totp.pk).update(confirmed_at=now)
    _record_and_notify("totp.added", user)
    return [] if user.recovery_codes.filter(used_at=None).exists() else new_recovery_codes(user)


def consume_totp_code(totp: Totp, code: str, *, now: datetime) -> None:
    """Accept a code of the current, previous or next time step, each step once (RFC 6238, section 5.2).

    Raises CodeRefused.
    """
    current_step = int(now.timestamp()) // STEP_SECONDS
    generator = pyotp.TOTP(totp.secret)
    submitted = code.replace(" ", "").encode()
    matching_steps = [
        current_step + offset
        for offset in ACCEPTED_STEP_OFFSETS
        if hmac.compare_digest(generator.generate_otp(current_step + offset).encode(), submitted)
    ]
    for step in matching_steps:
        if Totp.objects.filter(pk=totp.pk, last_step__lt=step).update(last_step=step):
            return
    raise CodeRefused


@transaction.atomic
def remove_totp(user: User) -> None:
    """Remove the authenticator app. Raises FactorMissing, LastFactor."""
    _require_another_factor(user)
    if not Totp.objects.filter(user=user).delete()[0]:
        raise FactorMissing
    _delete_codes_without_factor(user)
    _record_and_notify("totp.removed", user)


@transaction.atomic
def new_recovery_codes(user: User) -> list[str]:
    """Replace all recovery codes. Returns the new ones, which cannot be shown again. Raises FactorMissing."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not factors_of(user.pk).any:
        raise FactorMissing
    codes = [
        "".join(secrets.choice(RECOVERY_CODE_ALPHABET) for _ in range(RECOVERY_CODE_CHARACTERS))
        for _ in range(RECOVERY_CODE_COUNT)
    ]
    user.recovery_codes.all().delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, digest=_code_digest(user, code)) for code in codes
    )
    record("recovery_codes.made", actor=actors.user(user), subject=_subject(user), count=len(codes))
    return ["-".join(code[i : i + 4] for i in range(0, RECOVERY_CODE_CHARACTERS, 4)) for code in codes]


def consume_recovery_code(user: User, code: str, *, now: datetime) -> None:
    """Accept an unused recovery code and mark it as used. Raises CodeRefused."""
    normalised = code.replace("-", "").replace(" ", "").upper()
    unused = RecoveryCode.objects.filter(user=user, used_at=None)
    for row in unused:
        matches = hmac.compare_digest(row.digest, _code_digest(user, normalised))
        if matches and unused.filter(pk=row.pk).update(used_at=now):
            record("recovery_code.used", actor=actors.user(user), subject=_subject(user))
            mail.enqueue_mail(
                user.email, "recovery_code_used", person=user.pk, left=factors_of(user.pk).recovery_codes
            )
            return
    raise CodeRefused


def _code_digest(user: User, code: str) -> str:
    """Return the stored digest of a recovery code.

    SHA-256 suffices for 80 random bits. The user's id prevents one search over the codes of all users.
    """
    return hashlib.sha256(f"{user.pk}:{code}".encode()).hexdigest()


def begin_passkey(user: User, *, now: datetime) -> tuple[str, dict[str, Any]]:
    """Return a challenge token and the options for `navigator.credentials.create`."""
    token, nonce = challenges.issue_challenge("passkey registration", user=user, now=now)
    return token, passkeys.registration_options(user, list(user.passkeys.all()), nonce)


@transaction.atomic
def add_passkey(
    user: User, *, challenge: str, credential: dict[str, Any], name: str, now: datetime
) -> tuple[Passkey, list[str]]:
    """Store a new passkey. Returns it, and new recovery codes unless the user has unused ones.

    Raises ChallengeRefused, PasskeyRefused, TooManyObjects, CredentialsRefused.
    """
    verified_challenge = challenges.verify_challenge(challenge, "passkey registration", now=now)
    if verified_challenge.user_id != user.pk:
        raise PasskeyRefused
    credential_fields = passkeys.verify_registration(credential, verified_challenge.nonce)
    challenges.spend_challenge(verified_challenge)
    lock_active_user(user)
    if user.passkeys.count() >= MAX_PASSKEYS_PER_USER:
        raise TooManyObjects
    try:
        with transaction.atomic():
            passkey = Passkey.objects.create(user=user, name=name, **credential_fields)
    except IntegrityError:
        raise PasskeyRefused from None
    _record_and_notify("passkey.added", user, subject=passkey.as_subject())
    return passkey, [] if user.recovery_codes.filter(used_at=None).exists() else new_recovery_codes(user)


def verify_passkey(
    credential: dict[str, Any],
    challenge: challenges.Challenge,
    *,
    user_verification_required: bool,
    now: datetime,
) -> User:
    """Return the user whose passkey signed `challenge`, and spend the challenge.

    `user_verification_required` is set when the passkey is the only proof: the authenticator must have
    checked a PIN or a biometric. Raises PasskeyRefused, ChallengeRefused.
    """
    credential_id = passkeys.parse_credential_id(credential)
    passkey = (
        Passkey.objects.filter(credential_id=credential_id, user__is_active=True, user__deleted_at=None)
        .select_related("user")
        .first()
    )
    if passkey is None or challenge.user_id not in (None, passkey.user_id):
        raise PasskeyRefused
    sign_count = passkeys.verify_assertion(
        credential, challenge.nonce, passkey, user_verification_required=user_verification_required
    )
    with transaction.atomic():
        challenges.spend_challenge(challenge)
        counter_not_reused = Q(sign_count=0) if sign_count == 0 else Q(sign_count__lt=sign_count)
        matching = Passkey.objects.filter(counter_not_reused, pk=passkey.pk)
        if not matching.update(sign_count=sign_count, last_used_at=now):
            raise PasskeyRefused  # a cloned authenticator used the counter first (WebAuthn, section 6.1.1)
    return passkey.user


@transaction.atomic
def rename_passkey(passkey: Passkey, name: str) -> Passkey:
    """Change the display name of a passkey."""
    passkey.name = name
    passkey.save(update_fields=["name"])
    record("passkey.renamed", actor=actors.user(passkey.user), subject=passkey)
    return passkey


@transaction.atomic
def remove_passkey(passkey: Passkey) -> None:
    """Remove a passkey. Raises LastFactor."""
    _require_another_factor(passkey.user)
    subject = passkey.as_subject()
    passkey.delete()
    _delete_codes_without_factor(passkey.user)
    _record_and_notify("passkey.removed", passkey.user, subject=subject)


@transaction.atomic
def reset_factors(user_id: UUID, *, actor: Actor, allowed_permissions: frozenset[str] | None = None) -> None:
    """Remove all second factors of a user, for example after the user lost them and proved their identity.

    Raises PermissionsExceeded when the user holds more than `allowed_permissions`.
    """
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    require_permissions_within(user.permission_codes(), allowed_permissions)
    Totp.objects.filter(user=user).delete()
    user.passkeys.all().delete()
    user.recovery_codes.all().delete()
    _record_and_notify("factors.reset", user, actor=actor)


def _require_another_factor(user: User) -> None:
    """Raise LastFactor when staff would remove their last factor. Locks the user's row."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    factors = factors_of(user.pk)
    if factors.totp + factors.passkeys <= 1 and user.is_staff:
        raise LastFactor


def _delete_codes_without_factor(user: User) -> None:
    """Delete the recovery codes of a user who has no other factor left."""
    if not factors_of(user.pk).any:
        user.recovery_codes.all().delete()


def _record_and_notify(
    event: str, user: User, *, subject: Subject | None = None, actor: Actor | None = None
) -> None:
    """Record a change of factors and mail the owner, because an intruder would add a factor first."""
    record(event, actor=actor or actors.user(user), subject=subject or _subject(user))
    mail.enqueue_mail(user.email, "factors_changed", person=user.pk, event=event)


def _subject(user: User) -> Subject:
    return Subject("user", user.pk, owner_id=user.pk)
