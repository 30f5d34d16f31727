"""Access tokens (JWT by simplejwt, 15 minutes) and refresh tokens (computed from a session)."""

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
REFRESH_PURPOSE = "refresh token"
MAX_VERIFIED_TOKENS = 4096
MAX_REFRESH_TOKEN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A signing key of JWT_KEYS.

    With `starts` it signs only from then on, so that every process knows the key before it is used.
    """

    kid: str
    secret: str
    starts: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """Parse `kid:key` or `kid@20270131T120000Z:key`, an item of JWT_KEYS."""
        match = JWT_KEY_PATTERN.match(text)
        assert match, "config.env has validated JWT_KEYS"
        starts = (
            datetime.strptime(match["starts"], JWT_KEY_TIME_FORMAT).replace(tzinfo=UTC)
            if match["starts"]
            else None
        )
        return cls(match["kid"], match["key"], starts)

    def __str__(self) -> str:
        return (
            f"{self.kid}@{self.starts:{JWT_KEY_TIME_FORMAT}}:{self.secret}"
            if self.starts
            else f"{self.kid}:{self.secret}"
        )


def signing_key_at(ring: list[SigningKey], *, now: datetime) -> SigningKey:
    """Return the key that signs at `now`.

    It is the newest key that has started, else the first without a start, else the first of the ring.
    """
    started = [key for key in ring if key.starts and key.starts <= now]
    if started:
        return max(started, key=lambda key: key.starts or now)
    return next((key for key in ring if key.starts is None), ring[0])


def rotate_key_ring(ring: list[SigningKey], new_key: SigningKey, *, now: datetime) -> list[SigningKey]:
    """Return the ring with `new_key` in front, without the keys that have not signed for a day.

    Returns the ring unchanged while its newest key is less than a day old.
    """
    current = signing_key_at(ring, now=now)
    one_day_ago = now - timedelta(days=1)
    if any(key.starts and key.starts > one_day_ago for key in ring):
        return ring
    remaining = [key for key in ring if key == current] if current.starts else ring
    return [new_key, *remaining]


class KeyRing(TokenBackend):
    """simplejwt backend with several keys, identified by `kid`. One signs, all verify."""

    def __init__(self, ring: list[SigningKey]) -> None:
        config: dict[str, Any] = settings.SIMPLE_JWT
        super().__init__(
            ALGORITHM, ring[0].secret, "", config["AUDIENCE"], config["ISSUER"], None, config["LEEWAY"]
        )
        self.ring = ring
        self.keys = {key.kid: key.secret for key in ring}

    def encode(self, payload: dict[str, Any]) -> str:
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        key = signing_key_at(self.ring, now=datetime.now(UTC))
        return jwt.encode(claims, key.secret, algorithm=ALGORITHM, headers={"kid": key.kid})

    def decode(self, token: Any, verify: bool = True) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            key = self.keys[header["kid"]]
            if not set(header) <= {"alg", "typ", "kid"}:  # we never send jku, jwk, x5u or crit
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
    """Access token with the claims `sid`, `roles`, `epoch`, and `act` during impersonation (RFC 8693)."""

    _token_backend = KeyRing([SigningKey.parse(item) for item in settings.JWT_KEYS])


def make_access_token(user: User, session: Session) -> tuple[str, int]:
    """Return an access token and its lifetime in seconds, at most that of the session. One query."""
    token = PlatformAccessToken()
    lifetime = min(token.lifetime, session.expires_at - token.current_time)
    if session.impersonator_id:
        lifetime -= token.get_token_backend().get_leeway()  # verifiers add the leeway again
        token["act"] = {"sub": str(session.impersonator_id)}
    token.set_exp(lifetime=lifetime)
    token["sub"] = str(user.pk)
    token["sid"] = str(session.pk)
    token["epoch"] = user.epoch
    token["roles"] = sorted(role.name for role in user.roles.all())
    return str(token), int(lifetime.total_seconds())


# Keyed by the whole token, so only a token that was verified before is found.
_verified_tokens: MemoryCache[str, Principal] = MemoryCache(MAX_VERIFIED_TOKENS)


def verify_access_token(token: str) -> Principal:
    """Return the principal of a valid access token, without a query. Raises TokenExpired, TokenInvalid."""
    verified = _verified_tokens.get(token)
    if verified is not None:
        return verified
    try:
        claims = PlatformAccessToken(token)  # type: ignore[arg-type]
        actor = claims.get("act")
        principal = Principal(
            UUID(claims["sub"]),
            UUID(claims["sid"]),
            int(claims["epoch"]),
            frozenset(claims["roles"]),
            impersonator=UUID(actor["sub"]) if actor else None,
        )
    except (ExpiredTokenError, TokenBackendExpiredToken):
        raise TokenExpired from None
    except (TokenError, TokenBackendError, KeyError, ValueError, TypeError):
        raise TokenInvalid from None
    _verified_tokens.set(token, principal, seconds=float(claims["exp"]) - time.time())
    return principal


def make_refresh_token(session_id: UUID, generation: int) -> str:
    """Return `session.generation.HMAC`. The token is computed and never stored."""
    body = f"{session_id.hex}.{generation}"
    return f"{body}.{encryption.sign(REFRESH_PURPOSE, body)}"


def parse_refresh_token(token: str) -> tuple[UUID, int] | None:
    """Return session id and generation of a refresh token with a valid signature, else None."""
    body, _, mac = token.rpartition(".")
    if (
        len(token) > MAX_REFRESH_TOKEN_CHARACTERS
        or not token.isascii()
        or not encryption.verify_signature(REFRESH_PURPOSE, body, mac)
    ):
        return None
    session, _, generation = body.partition(".")
    return UUID(session), int(generation)
