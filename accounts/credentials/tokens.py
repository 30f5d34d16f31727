"""Access tokens (JWT, 15 minutes, minted and checked by simplejwt) and refresh tokens (ours, computed from a
row).
"""

import time
from collections import OrderedDict
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
from config.env import KEY, KEY_TIME
from core import encryption
from core.admission.errors import TokenExpired, TokenInvalid
from core.admission.principals import Principal

ALGORITHM = "HS256"
REFRESH_PURPOSE = "refresh token"
MEMO_SIZE = 4096


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key of the ring.

    With `starts` it signs from then on, so that every process knows it before anybody uses it.
    """

    kid: str
    secret: str
    starts: datetime | None = None

    @classmethod
    def parse(cls, text: str) -> "SigningKey":
        """From `kid:key` or `kid@20270131T120000Z:key`, as JWT_KEYS has them."""
        found = KEY.match(text)
        assert found, "config.env lets no other in"
        starts = datetime.strptime(found["starts"], KEY_TIME).replace(tzinfo=UTC) if found["starts"] else None
        return cls(found["kid"], found["key"], starts)

    def __str__(self) -> str:
        return (
            f"{self.kid}@{self.starts:{KEY_TIME}}:{self.secret}"
            if self.starts
            else f"{self.kid}:{self.secret}"
        )


def signing_key_at(ring: list[SigningKey], *, now: datetime) -> SigningKey:
    """The key that signs at `now`: the newest that has started, else the first that needs no start, else the
    first.
    """
    started = [key for key in ring if key.starts and key.starts <= now]
    if started:
        return max(started, key=lambda key: key.starts or now)
    return next((key for key in ring if key.starts is None), ring[0])


def rotate_key_ring(ring: list[SigningKey], fresh: SigningKey, *, now: datetime) -> list[SigningKey]:
    """The ring with `fresh` before it, without keys that have not signed for a day.

    While the newest key is younger than a day the ring stays as it is.
    """
    current = signing_key_at(ring, now=now)
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
        key = signing_key_at(self.ring, now=datetime.now(UTC))
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

    _token_backend = KeyRing([SigningKey.parse(item) for item in settings.JWT_KEYS])


def make_access_token(user: User, session: Session) -> tuple[str, int]:
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


class _Memo:
    """Tokens verified before, until they expire; keyed by the whole token, so nothing unverified is ever
    found.
    """

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    def get(self, token: str) -> Principal | None:
        found = self._kept.get(token)
        return found[1] if found and found[0] > time.time() else None

    def put(self, token: str, expires: float, principal: Principal) -> None:
        self._kept[token] = (expires, principal)
        while len(self._kept) > MEMO_SIZE:
            try:
                self._kept.popitem(last=False)
            except KeyError:  # another thread was as quick
                return


_memo = _Memo()


def verify_access_token(token: str) -> Principal:
    """The principal of a valid access token. Raises TokenExpired, TokenInvalid. No store is asked."""
    known = _memo.get(token)
    if known is not None:
        return known
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
    _memo.put(token, float(claims["exp"]), principal)
    return principal


def make_refresh_token(session_id: UUID, generation: int) -> str:
    """`session.generation.HMAC`: computed, never stored, the same each time it is asked for."""
    body = f"{session_id.hex}.{generation}"
    return f"{body}.{encryption.sign(REFRESH_PURPOSE, body)}"


def parse_refresh_token(token: str) -> tuple[UUID, int] | None:
    """Session and generation of a refresh token that we made; None for any other text."""
    body, _, mac = token.rpartition(".")
    if len(token) > 200 or not token.isascii() or not encryption.verify_signature(REFRESH_PURPOSE, body, mac):
        return None
    session, _, generation = body.partition(".")
    return UUID(session), int(generation)
