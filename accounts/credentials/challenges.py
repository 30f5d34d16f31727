"""Challenge tokens, which a client must answer within five minutes and only once.

They are signed and not stored; only spent ones are. The nonce is 32 random bytes, so it also serves as a
WebAuthn challenge.
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
MAX_TOKEN_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class Challenge:
    """A verified challenge.

    Without a `user_id` any user may answer it. `epoch` is the user's epoch at the time of issue.
    `completed_method` names the first factor that was accepted before, if any.
    """

    purpose: str
    nonce: bytes
    expires_at: datetime
    user_id: UUID | None
    epoch: int
    completed_method: str


def issue_challenge(
    purpose: str, *, user: User | None, now: datetime, completed_method: str = ""
) -> tuple[str, bytes]:
    """Return a signed token for the client, and its nonce."""
    nonce = secrets.token_bytes(32)
    payload = {
        "nonce": nonce.hex(),
        "expires": (now + CHALLENGE_LIFETIME).timestamp(),
        "user": user.pk.hex if user else None,
        "epoch": user.epoch if user else 0,
        "after": completed_method,
    }
    body = base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")
    return f"{body}.{encryption.sign(purpose, body)}", nonce


def verify_challenge(token: str, purpose: str, *, now: datetime) -> Challenge:
    """Return the challenge of a token. It may be spent already; `spend_challenge` finds out.

    Raises ChallengeRefused for a wrong signature, another purpose, or an expired token.
    """
    body, _, mac = token.partition(".")
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise ChallengeRefused
    if not encryption.verify_signature(purpose, body, mac):
        raise ChallengeRefused
    try:
        payload = json.loads(base64.urlsafe_b64decode(body + "=="))
        challenge = Challenge(
            purpose=purpose,
            nonce=bytes.fromhex(payload["nonce"]),
            expires_at=datetime.fromtimestamp(payload["expires"], tz=now.tzinfo),
            user_id=UUID(payload["user"]) if payload["user"] else None,
            epoch=payload["epoch"],
            completed_method=payload["after"],
        )
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise ChallengeRefused from None
    if challenge.expires_at <= now:
        raise ChallengeRefused
    return challenge


def spend_challenge(challenge: Challenge) -> None:
    """Mark a challenge as used, in the caller's transaction if there is one.

    Raises ChallengeRefused when it was used before.
    """
    try:
        with transaction.atomic():
            SpentChallenge.objects.create(nonce=challenge.nonce.hex(), expires_at=challenge.expires_at)
    except IntegrityError:
        raise ChallengeRefused from None


def delete_expired_challenges(*, now: datetime) -> int:
    """Delete spent challenges that have expired. Returns how many."""
    return SpentChallenge.objects.filter(expires_at__lt=now - CHALLENGE_LIFETIME).delete()[0]
