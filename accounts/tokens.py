"""Access tokens (JWT, 15 minutes, minted and checked by simplejwt) and refresh tokens (ours, computed from a row)."""

import hashlib
import hmac
import time
from collections import OrderedDict
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
from core.gate import Principal, TokenExpired, TokenInvalid

ALGORITHM = "HS256"
MEMO_SIZE = 4096


class KeyRing(TokenBackend):
    """simplejwt's backend over several keys, told apart by `kid`. The first signs, all verify."""

    def __init__(self, keys: dict[str, str]) -> None:
        first = next(iter(keys.values()))
        rules: dict[str, Any] = settings.SIMPLE_JWT
        self.secret = first
        super().__init__(ALGORITHM, first, "", rules["AUDIENCE"], rules["ISSUER"], None, rules["LEEWAY"])
        self.keys = keys
        self.kid = next(iter(keys))

    def encode(self, payload: dict[str, Any]) -> str:
        claims = {**payload, "aud": self.audience, "iss": self.issuer}
        return jwt.encode(claims, self.secret, algorithm=ALGORITHM, headers={"kid": self.kid})

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
    """Claims beside the registered ones: `sid`, `roles`, `epoch`."""

    _token_backend = KeyRing(settings.JWT_KEYS)


def mint_access(user: User, session: Session) -> tuple[str, int]:
    """An access token and its lifetime in seconds. One query for the roles."""
    token = PlatformAccessToken()
    token["sub"] = str(user.pk)
    token["sid"] = str(session.pk)
    token["epoch"] = user.epoch
    token["roles"] = sorted(role.name for role in user.roles.all())
    return str(token), int(token.lifetime.total_seconds())


class _Memo:
    """Tokens verified before, until they expire; keyed by the whole token, so nothing unverified is ever found."""

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


def read_access(token: str) -> Principal:
    """The principal of a valid access token. Raises TokenExpired, TokenInvalid. No store is asked."""
    known = _memo.get(token)
    if known is not None:
        return known
    try:
        claims = PlatformAccessToken(token)  # type: ignore[arg-type]
        principal = Principal(
            UUID(claims["sub"]), UUID(claims["sid"]), int(claims["epoch"]), frozenset(claims["roles"])
        )
    except (ExpiredTokenError, TokenBackendExpiredToken):
        raise TokenExpired from None
    except (TokenError, TokenBackendError, KeyError, ValueError, TypeError):
        raise TokenInvalid from None
    _memo.put(token, float(claims["exp"]), principal)
    return principal


def refresh_token(session_id: UUID, generation: int) -> str:
    """`session.generation.HMAC`: computed, never stored, the same each time it is asked for."""
    body = f"{session_id.hex}.{generation}"
    return f"{body}.{_mac(settings.SECRET_KEY, body)}"


def read_refresh(token: str) -> tuple[UUID, int] | None:
    """Session and generation of a refresh token that we made; None for any other text."""
    body, _, mac = token.rpartition(".")
    if len(token) > 200 or not body.isascii() or not mac.isascii():
        return None
    genuine = [
        hmac.compare_digest(_mac(key, body), mac) for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    ]
    if not any(genuine):
        return None
    session, _, generation = body.partition(".")
    return UUID(session), int(generation)


def _mac(key: str, body: str) -> str:
    return hmac.new(b"refresh:" + key.encode(), body.encode(), hashlib.sha256).hexdigest()
