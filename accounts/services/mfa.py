"""Second factors: authenticator app, recovery codes, passkeys. Every change is recorded and told by mail."""

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
from accounts.services.roles import require_permissions_within
from accounts.services.users import lock_active_user
from audit import actors
from audit.actors import Actor
from audit.services import record
from audit.subjects import Subject
from core.jobs import mail

STEP_SECONDS = 30
ACCEPTED_STEP_OFFSETS = (0, -1, 1)  # steps that a phone's clock may be off
RECOVERY_CODE_COUNT = 10
RECOVERY_CODE_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # 16 of these are 80 bits
MAX_PASSKEYS_PER_USER = 20


def begin_totp(user: User) -> str:
    """A fresh secret (base32, 160 bits) that guards nothing until a code of it came back.

    Raises FactorExists.
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
    """What an authenticator app reads from the QR code (Key Uri Format)."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=settings.APP_HOST)


@transaction.atomic
def confirm_totp(user: User, code: str, *, now: datetime) -> list[str]:
    """Set the authenticator app in force; return recovery codes if there were none.

    Raises CodeRefused, FactorMissing.
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
    """Accept a code of this, the previous or the next 30 seconds, each step once. Raises CodeRefused."""
    step_now = int(now.timestamp()) // STEP_SECONDS
    generator = pyotp.TOTP(totp.secret)
    given = code.replace(" ", "")
    matching = [
        step_now + drift
        for drift in ACCEPTED_STEP_OFFSETS
        if hmac.compare_digest(generator.generate_otp(step_now + drift).encode(), given.encode())
    ]
    for step in matching:
        if Totp.objects.filter(pk=totp.pk, last_step__lt=step).update(last_step=step):
            return
    raise CodeRefused


@transaction.atomic
def remove_totp(user: User) -> None:
    """Raises FactorMissing, LastFactor."""
    _require_another_factor(user)
    if not Totp.objects.filter(user=user).delete()[0]:
        raise FactorMissing
    _delete_codes_without_factor(user)
    _record_and_notify("totp.removed", user)


@transaction.atomic
def new_recovery_codes(user: User) -> list[str]:
    """Ten codes in place of all earlier ones; shown now and never again. Raises FactorMissing."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    if not factors_of(user.pk).any:
        raise FactorMissing
    plain = [
        "".join(secrets.choice(RECOVERY_CODE_ALPHABET) for _ in range(16)) for _ in range(RECOVERY_CODE_COUNT)
    ]
    user.recovery_codes.all().delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, digest=_code_digest(user, code)) for code in plain
    )
    record("recovery_codes.made", actor=actors.user(user), subject=_subject(user), count=RECOVERY_CODE_COUNT)
    return ["-".join(code[at : at + 4] for at in range(0, 16, 4)) for code in plain]


def consume_recovery_code(user: User, code: str, *, now: datetime) -> None:
    """Accept one of the codes, once. Raises CodeRefused."""
    plain = code.replace("-", "").replace(" ", "").upper()
    codes = RecoveryCode.objects.filter(user=user, used_at=None)
    for row in codes:
        same = hmac.compare_digest(row.digest, _code_digest(user, plain))
        if same and codes.filter(pk=row.pk).update(used_at=now):
            record("recovery_code.used", actor=actors.user(user), subject=_subject(user))
            mail.enqueue_mail(
                user.email, "recovery_code_used", person=user.pk, left=factors_of(user.pk).recovery_codes
            )
            return
    raise CodeRefused


def _code_digest(user: User, plain: str) -> str:
    """SHA-256 suffices for 80 random bits; with the user's id nobody's codes can be looked up together."""
    return hashlib.sha256(f"{user.pk}:{plain}".encode()).hexdigest()


def begin_passkey(user: User, *, now: datetime) -> tuple[str, dict[str, Any]]:
    """A challenge, and options for `navigator.credentials.create`."""
    token, nonce = challenges.issue_challenge("passkey registration", user=user, now=now)
    return token, passkeys.registration_options(user, list(user.passkeys.all()), nonce)


@transaction.atomic
def add_passkey(
    user: User, *, challenge: str, credential: dict[str, Any], name: str, now: datetime
) -> tuple[Passkey, list[str]]:
    """The new passkey, and recovery codes if there were none.

    Raises ChallengeRefused, PasskeyRefused, TooManyOfThese.
    """
    asked = challenges.verify_challenge(challenge, "passkey registration", now=now)
    if asked.user_id != user.pk:
        raise PasskeyRefused
    found = passkeys.verify_registration(credential, asked.nonce)
    challenges.spend_challenge(asked)
    lock_active_user(user)
    if user.passkeys.count() >= MAX_PASSKEYS_PER_USER:
        raise TooManyObjects
    try:
        with transaction.atomic():
            made = Passkey.objects.create(user=user, name=name, **found)
    except IntegrityError:
        raise PasskeyRefused from None
    _record_and_notify("passkey.added", user, subject=made.as_subject())
    return made, [] if user.recovery_codes.filter(used_at=None).exists() else new_recovery_codes(user)


def verify_passkey(
    credential: dict[str, Any], asked: challenges.Challenge, *, alone: bool, now: datetime
) -> User:
    """The user of an assertion that answers `asked`.

    `alone`: it is the only proof, so the authenticator must have verified its user (biometrics or PIN).
    Raises PasskeyRefused, ChallengeRefused.
    """
    known = Passkey.objects.filter(
        credential_id=passkeys.parse_credential_id(credential), user__is_active=True
    )
    passkey = known.filter(user__deleted_at=None).select_related("user").first()
    if passkey is None or asked.user_id not in (None, passkey.user_id):
        raise PasskeyRefused
    count = passkeys.verify_assertion(credential, asked.nonce, passkey, verified=alone)
    with transaction.atomic():
        challenges.spend_challenge(asked)
        unmoved = Q(sign_count=0) if count == 0 else Q(sign_count__lt=count)
        if not Passkey.objects.filter(unmoved, pk=passkey.pk).update(sign_count=count, last_used_at=now):
            raise PasskeyRefused  # a copy of the authenticator was faster (WebAuthn, 6.1.1)
    return passkey.user


@transaction.atomic
def rename_passkey(passkey: Passkey, name: str) -> Passkey:
    passkey.name = name
    passkey.save(update_fields=["name"])
    record("passkey.renamed", actor=actors.user(passkey.user), subject=passkey)
    return passkey


@transaction.atomic
def remove_passkey(passkey: Passkey) -> None:
    """Raises LastFactor."""
    _require_another_factor(passkey.user)
    subject = passkey.as_subject()
    passkey.delete()
    _delete_codes_without_factor(passkey.user)
    _record_and_notify("passkey.removed", passkey.user, subject=subject)


@transaction.atomic
def reset_factors(user_id: UUID, *, actor: Actor, limit: frozenset[str] | None = None) -> None:
    """Take every second factor away: for somebody who lost theirs and was recognised by staff in another way.

    Raises BeyondYourRights past the rights in `limit`.
    """
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    require_permissions_within(user.permission_codes(), limit)
    Totp.objects.filter(user=user).delete()
    user.passkeys.all().delete()
    user.recovery_codes.all().delete()
    _record_and_notify("factors.reset", user, actor=actor)


def _require_another_factor(user: User) -> None:
    """Raise LastFactor when a member of staff would be left without. Holds off a parallel removal."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)
    left = factors_of(user.pk)
    if left.totp + left.passkeys <= 1 and user.is_staff:
        raise LastFactor


def _delete_codes_without_factor(user: User) -> None:
    if not factors_of(user.pk).any:
        user.recovery_codes.all().delete()


def _record_and_notify(
    event: str, user: User, *, subject: Subject | None = None, actor: Actor | None = None
) -> None:
    """Record a change of factors and tell the owner: a thief's first act is to add one."""
    record(event, actor=actor or actors.user(user), subject=subject or _subject(user))
    mail.enqueue_mail(user.email, "factors_changed", person=user.pk, event=event)


def _subject(user: User) -> Subject:
    return Subject("user", user.pk, owner_id=user.pk)
