"""Access tokens (JWT, 15 minutes, minted and checked by simplejwt) and refresh tokens (ours, computed from a
row).
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import (
    ExpiredTokenError,
    TokenBackendError,
    TokenBackendExpiredToken,
    TokenError,
)
from rest_framework_simplejwt.tokens import AccessToken

from accounts.models import Session, User
from config.env_validators import JWT_KEY_PATTERN, JWT_KEY_TIME_FORMAT
from core import encryption
from core.admission.errors import TokenExpired, TokenInvalid
from core.admission.principals import Principal
from core.storage.memory_cache import MemoryCache

ALGORITHM = "HS256"
REFRESH = "refresh token"
MAX_VERIFIED_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the ring.

    With `starts` it signs from then on, so that every process knows it before anybody uses it.
    """

    kid: str
    secret: str
    starts: datetime | None = None

    @classmethod
    def read(cls, text: str) -> "SigningKey":
        """From `kid:key` or `kid@20270131T120000Z:key`, as JWT_KEYS has them."""
        found = JWT_KEY_PATTERN.match(text)
        assert found, "config.env lets no other in"
        starts = (
            datetime.strptime(found["starts"], JWT_KEY_TIME_FORMAT).replace(tzinfo=UTC)
            if found["starts"]
            else None
        )
        return cls(found["kid"], found["key"], starts)

    def __str__(self) -> str:
        return (
            f"{self.kid}@{self.starts:{JWT_KEY_TIME_FORMAT}}:{self.secret}"
            if self.starts
            else f"{self.kid}:{self.secret}"
        )


def signer(ring: list[SigningKey], *, now: datetime) -> SigningKey:
    """The key that signs at `now`: the newest that has started, else the first that needs no start, else the
    first.
    """
    started = [key for key in ring if key.starts and key.starts <= now]
    if started:
        return max(started, key=lambda key: key.starts or now)
    return next((key for key in ring if key.starts is None), ring[0])


def next_ring(ring: list[SigningKey], fresh: SigningKey, *, now: datetime) -> list[SigningKey]:
    """The ring with `fresh` before it, without keys that have not signed for a day.

    While the newest key is younger than a day the ring stays as it is.
    """
    current = signer(ring, now=now)
    settled = now - timedelta(days=1)
    if any(key.starts and key.starts > settled for key in ring):
        return ring
    kept = [key for key in ring if key == current] if current.starts else ring
    return [fresh, *kept]


class KeyRing(TokenBackend):
    """simplejwt's backend over several keys, told apart by `kid`. One signs, all verify."""

    def __init__(self, ring: list[SigningKey]) -> None:
        rules: dict[str, Any] = settings.SIMPLE_JWT
        super().__init__(
            ALGORITHM, ring[0].secret, "", rules["AUDIENCE"], rules["ISSUER"], None, rules["LEEWAY"]
        )
        self.ring = ring
        self.keys = {key.kid: key.secret for key in ring}

    def encode(self, payload: dict[str, Any]) -> str:
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        key = signer(self.ring, now=datetime.now(UTC))
        return jwt.encode(claims, key.secret, algorithm=ALGORITHM, headers={"kid": key.kid})

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key = self.keys[header["kid"]]
            if not set(header) <= {"alg", "typ", "kid"}:  # jku, jwk, x5u, crit: nobody asked for them
                raise TokenBackendError("Token is invalid")
            options: Any = {"require": ["exp", "iat", "sub", "aud", "iss"]}
            return jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self.audience,
                issuer=self.issuer,
                leeway=self.get_leeway(),
                options=options,
            )
        except jwt.ExpiredSignatureError:
            raise TokenBackendExpiredToken("Token is expired") from None
        except (jwt.InvalidTokenError, KeyError, ValueError, TypeError):
            raise TokenBackendError("Token is invalid") from None


class PlatformAccessToken(AccessToken):
    """Claims beside the registered ones: `sid`, `roles`, `epoch`, and for staff who act as the user `act`."""

    _token_backend = KeyRing([SigningKey.read(item) for item in settings.JWT_KEYS])


def mint_access(user: User, session: Session) -> tuple[str, int]:
    """An access token and its lifetime in seconds, which ends with its session. One query for the roles."""
    token = PlatformAccessToken()
    left = min(token.lifetime, session.expires_at - token.current_time)
    if session.impersonator_id:
        left -= token.get_token_backend().get_leeway()  # which readers grant again
        token["act"] = {"sub": str(session.impersonator_id)}
    token.set_exp(lifetime=left)
    token["sub"] = str(user.pk)
    token["sid"] = str(session.pk)
    token["epoch"] = user.epoch
    token["roles"] = sorted(role.name for role in user.roles.all())
    return str(token), int(left.total_seconds())


# Keyed by the whole token, so only a token that was verified before is found.
_verified_tokens: MemoryCache[str, Principal] = MemoryCache(MAX_VERIFIED_TOKENS)


def read_access(token: str) -> Principal:
    """The principal of a valid access token. Raises TokenExpired, TokenInvalid. No store is asked."""
    verified = _verified_tokens.get(token)
    if verified is not None:
        return verified
    try:
        claims = PlatformAccessToken(token)  # type: ignore[arg-type]
        acting = claims.get("act")
        principal = Principal(
            UUID(claims["sub"]),
            UUID(claims["sid"]),
            int(claims["epoch"]),
            frozenset(claims["roles"]),
            impersonator=UUID(acting["sub"]) if acting else None,
        )
    except (ExpiredTokenError, TokenBackendExpiredToken):
        raise TokenExpired from None
    except (TokenError, TokenBackendError, KeyError, ValueError, TypeError):
        raise TokenInvalid from None
    _verified_tokens.set(token, principal, seconds=float(claims["exp"]) - time.time())
    return principal


def refresh_token(session_id: UUID, generation: int) -> str:
    """`session.generation.HMAC`: computed, never stored, the same each time it is asked for."""
    body = f"{session_id.hex}.{generation}"
    return f"{body}.{encryption.sign(REFRESH, body)}"


def read_refresh(token: str) -> tuple[UUID, int] | None:
    """Session and generation of a refresh token that we made; None for any other text."""
    body, _, mac = token.rpartition(".")
    if len(token) > 200 or not token.isascii() or not encryption.verify_signature(REFRESH, body, mac):
        return None
    session, _, generation = body.partition(".")
    return UUID(session), int(generation)
