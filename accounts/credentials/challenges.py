"""Challenges: what a client must answer within five minutes, once.

Signed and not stored; only a right answer is.

The nonce is 32 random bytes, so it serves as a WebAuthn challenge too.
"""

import base64
import binascii
import json
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.errors import ChallengeRefused
from accounts.models import SpentChallenge, User
from core import encryption

CHALLENGE_LIFETIME = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Challenge:
    """For which `purpose`, for whom (None: whoever answers), at which epoch of theirs, and until when.

    `after` says what was proved before.
    """

    purpose: str
    nonce: bytes
    expires: datetime
    user_id: UUID | None
    epoch: int
    after: str


def issue_challenge(purpose: str, *, user: User | None, now: datetime, after: str = "") -> tuple[str, bytes]:
    """A token for the client, and its nonce."""
    nonce = secrets.token_bytes(32)
    facts = {
        "nonce": nonce.hex(),
        "expires": (now + CHALLENGE_LIFETIME).timestamp(),
        "user": user.pk.hex if user else None,
        "epoch": user.epoch if user else 0,
        "after": after,
    }
    body = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode().rstrip("=")
    return f"{body}.{encryption.sign(purpose, body)}", nonce


def verify_challenge(token: str, purpose: str, *, now: datetime) -> Challenge:
    """Raises ChallengeRefused for what is not ours, of another purpose, or too old."""
    body, _, mac = token.partition(".")
    if len(token) > 1000 or not token.isascii() or not encryption.verify_signature(purpose, body, mac):
        raise ChallengeRefused
    try:
        facts = json.loads(base64.urlsafe_b64decode(body + "=="))
        expires = datetime.fromtimestamp(facts["expires"], tz=now.tzinfo)
        user_id = UUID(facts["user"]) if facts["user"] else None
        found = Challenge(
            purpose, bytes.fromhex(facts["nonce"]), expires, user_id, facts["epoch"], facts["after"]
        )
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ChallengeRefused from None
    if expires <= now:
        raise ChallengeRefused
    return found


def spend_challenge(challenge: Challenge) -> None:
    """Use it up, in the caller's transaction if there is one.

    Raises ChallengeRefused when somebody was faster.
    """
    try:
        with transaction.atomic():
            SpentChallenge.objects.create(nonce=challenge.nonce.hex(), expires_at=challenge.expires)
    except IntegrityError:
        raise ChallengeRefused from None


def delete_expired_challenges(*, now: datetime) -> int:
    return SpentChallenge.objects.filter(expires_at__lt=now - CHALLENGE_LIFETIME).delete()[0]
