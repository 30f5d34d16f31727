"""Zero-knowledge login: the client sends an auth hash that it derives from the password (PBKDF2-SHA256).

The server never sees the password. Before signing in a client asks how (`POST /auth/prelogin`), and every
address gets an answer, with or without an account. Without an account the answer is derived from the address,
so it is always the same, and its parameters are drawn with the frequencies of the existing accounts, so it
does not stand out.
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
DISTRIBUTION_CACHE_SECONDS = 60
MAX_PROFILES = 8
# Rarer profiles are not imitated. An account with one can be told apart from an address without an account.
MIN_PROFILE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class LoginParameters:
    """How the client of an address signs in.

    With scheme `password`, `kdf` holds the parameters for changing to zero-knowledge login.
    """

    scheme: str
    kdf: Kdf


@dataclass(frozen=True, slots=True)
class LoginProfile:
    """The prelogin values that do not identify an account: scheme, iterations and length of the salt."""

    scheme: str
    iterations: int
    salt_bytes: int


PASSWORD_PROFILE = LoginProfile(User.Scheme.PASSWORD, Kdf.MIN_ITERATIONS, DEFAULT_SALT_BYTES)


def login_parameters(email: str) -> LoginParameters:
    """Return the login parameters of an address. One query and the same work with or without an account."""
    address = normalise_email(email)
    distribution = cache.get_or_set(
        "shared", "prelogin", profile_distribution, seconds=DISTRIBUTION_CACHE_SECONDS
    )
    profile = _choose_profile(address, distribution)
    imitation = LoginParameters(profile.scheme, Kdf(profile.iterations, _derive_salt(address, profile)))
    # Includes soft-deleted accounts, so that closing an account does not change the answer.
    user = User.objects.get_queryset().filter(email=address).first()
    if user is None:
        return imitation
    default_kdf = Kdf(PASSWORD_PROFILE.iterations, _derive_salt(address, PASSWORD_PROFILE))
    return LoginParameters(user.scheme, user.kdf or default_kdf)


def profile_distribution() -> list[list[Any]]:
    """Return the profiles for addresses without an account: scheme, iterations, salt_bytes, weight.

    The weights follow PRELOGIN_BLIND_PERCENT when it is set, else the existing accounts. When addresses must
    be verified only verified accounts count, and rare profiles never do, so that an attacker cannot shift the
    distribution with a few accounts. Weights are rounded to powers of the square root of two, so that a few
    more accounts of one kind change no answer.
    """
    if (percent := settings.PRELOGIN_BLIND_PERCENT) is not None:
        weights = {User.Scheme.PASSWORD: 100 - percent, User.Scheme.ZERO_KNOWLEDGE: percent}
        return [
            [scheme.value, PASSWORD_PROFILE.iterations, PASSWORD_PROFILE.salt_bytes, weight]
            for scheme, weight in weights.items()
            if weight
        ]
    users = User.objects.get_queryset()
    if settings.EMAIL_VERIFICATION_REQUIRED:
        users = users.exclude(email_verified_at=None)
    counts = users.values_list("scheme", "kdf_iterations", Length("kdf_salt")).annotate(count=Count("pk"))
    rows = list(counts.order_by("-count")[:MAX_PROFILES])
    total = sum(count for *_, count in rows)
    return [
        [
            scheme,
            iterations or PASSWORD_PROFILE.iterations,
            salt_bytes or PASSWORD_PROFILE.salt_bytes,
            2 ** (round(2 * math.log2(count / total)) / 2),
        ]
        for scheme, iterations, salt_bytes, count in rows
        if count >= total * MIN_PROFILE_SHARE
    ]


def _choose_profile(address: str, distribution: list[list[Any]]) -> LoginProfile:
    """Choose a profile for an address by weighted rendezvous hashing.

    When the weights change, as few addresses as possible change their profile.
    """

    def score(row: list[Any]) -> float:
        *profile, weight = row
        number = int.from_bytes(_mac(address, repr(profile))[:8], "big") + 1
        return float(-math.log(number / (2**64 + 1)) / weight)

    return LoginProfile(*min(distribution, key=score)[:3]) if distribution else PASSWORD_PROFILE


def _derive_salt(address: str, profile: LoginProfile) -> bytes:
    # The text keeps the names it had in the first version: other names would change all derived salts.
    label = f"Look(scheme={profile.scheme!r}, iterations={profile.iterations}, salt={profile.salt_bytes})"
    return _mac(address, label)[: profile.salt_bytes]


def _mac(address: str, label: str) -> bytes:
    key = next(encryption.derived_keys("prelogin"))
    return hmac.new(key, f"{label}\n{address}".encode(), hashlib.sha512).digest()
