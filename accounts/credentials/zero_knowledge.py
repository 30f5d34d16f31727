"""Blind sign-in: the client makes a key of the password (PBKDF2-SHA256) and sends only what it derives from
that for signing in. The server never sees the password.

Before signing in a client asks how: `prelogin` answers for every address, with an account or without. What it
says of an address without one is computed from the address, so it is the same each time, and drawn as often
as the accounts that there are have it, so it looks like one of them.
"""

import hashlib
import hmac
import math
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db.models import Count
from django.db.models.functions import Length

from accounts.models import Kdf, User, normalise_email
from core import encryption
from core.storage import cache

AUTH_HASH_BYTES = 32
DEFAULT_SALT_BYTES = 16
DISTRIBUTION_CACHE_SECONDS = 60  # how long the shares of the accounts are remembered
MAX_PROFILES = 8
MIN_PROFILE_SHARE = 0.01  # of the accounts; who has a rarer look can be told from an invented one


@dataclass(frozen=True, slots=True)
class LoginParameters:
    """How an address signs in.

    Where `scheme` is `password`, `kdf` is what the account would begin with as a blind one.
    """

    scheme: str
    kdf: Kdf


@dataclass(frozen=True, slots=True)
class LoginProfile:
    """What of an answer could tell accounts apart: scheme, iterations, and bytes of salt."""

    scheme: str
    iterations: int
    salt: int


PASSWORD_PROFILE = LoginProfile(User.Scheme.PASSWORD, Kdf.MIN_ITERATIONS, DEFAULT_SALT_BYTES)


def login_parameters(email: str) -> LoginParameters:
    """One query, and the same work whether there is an account or not."""
    address = normalise_email(email)
    look = _choose_profile(
        address,
        cache.get_or_set("shared", "prelogin", profile_distribution, seconds=DISTRIBUTION_CACHE_SECONDS),
    )
    invented = LoginParameters(look.scheme, Kdf(look.iterations, _derive_salt(address, look)))
    found = (
        User.objects.get_queryset().filter(email=address).first()
    )  # closed ones too: closing must not show
    if found is None:
        return invented
    return LoginParameters(
        found.scheme, found.kdf or Kdf(PASSWORD_PROFILE.iterations, _derive_salt(address, PASSWORD_PROFILE))
    )


def profile_distribution() -> list[list[Any]]:
    """How often an address without an account is to have each look: `[scheme, iterations, salt, weight]`, as
    PRELOGIN_BLIND_PERCENT says, else as the accounts are. Where addresses are verified only those count that
    were, and only common looks, so that nobody brings a few of their own; the weights are rounded to half
    powers of two, so that a few more accounts of one kind move no answer.
    """
    if (percent := settings.PRELOGIN_BLIND_PERCENT) is not None:
        looks = [
            (PASSWORD_PROFILE, 100 - percent),
            (LoginProfile(User.Scheme.BLIND, PASSWORD_PROFILE.iterations, PASSWORD_PROFILE.salt), percent),
        ]
        return [[look.scheme, look.iterations, look.salt, weight] for look, weight in looks if weight]
    users = User.objects.get_queryset()
    if settings.EMAIL_VERIFICATION_REQUIRED:
        users = users.exclude(email_verified_at=None)
    counted = users.values_list("scheme", "kdf_iterations", Length("kdf_salt")).annotate(count=Count("pk"))
    rows = list(counted.order_by("-count")[:MAX_PROFILES])
    total = sum(count for *_, count in rows)
    return [
        [
            scheme,
            iterations or PASSWORD_PROFILE.iterations,
            salt or PASSWORD_PROFILE.salt,
            2 ** (round(2 * math.log2(count / total)) / 2),
        ]
        for scheme, iterations, salt, count in rows
        if count >= total * MIN_PROFILE_SHARE
    ]


def _choose_profile(address: str, mix: list[list[Any]]) -> LoginProfile:
    """Weighted rendezvous hashing: each look draws a lot for the address, and the best wins.

    When the weights move, as few answers as possible move with them.
    """

    def lot(row: list[Any]) -> float:
        *look, weight = row
        drawn = int.from_bytes(_mac(address, repr(look))[:8], "big") + 1
        return float(-math.log(drawn / (2**64 + 1)) / weight)

    return LoginProfile(*min(mix, key=lot)[:3]) if mix else PASSWORD_PROFILE


def _derive_salt(address: str, look: LoginProfile) -> bytes:
    return _mac(address, repr(look))[: look.salt]


def _mac(address: str, what: str) -> bytes:
    return hmac.new(
        next(encryption.derived_keys("prelogin")), f"{what}\n{address}".encode(), hashlib.sha512
    ).digest()
