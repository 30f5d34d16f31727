"""Format of API keys, and their verification with a cache in each process.

The format is `gys_<env>_<id>_<secret><crc>`. The prefix makes leaked keys recognisable in logs and
repositories, and the checksum refuses mistyped keys without a query. The principal of a key is cached for
`CACHE_SECONDS`; a revocation takes effect at once by its tombstone.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from accounts.models import ApiKey
from core.admission.errors import CredentialUnknown, TokenInvalid
from core.admission.principals import Principal
from core.storage.memory_cache import MemoryCache

BASE62_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
KEY_PATTERN = re.compile(r"gys_[a-z]{3,4}_(?P<id>[0-9A-Za-z]{8})_[0-9A-Za-z]{32}(?P<crc>[0-9A-Za-z]{6})")
CACHE_SECONDS = 60.0
MAX_CACHED_KEYS = 4096


class ApiKeyRefused(TokenInvalid):
    code = "api_key_refused"
    message = "This API key is not valid. It is mistyped, expired or revoked."


def generate_key() -> tuple[str, str]:
    """Return id and text of a new key. Its 190 random bits need no slow hash."""
    prefix = _random_base62(8)
    body = f"gys_{'dev' if settings.DEVELOPMENT else 'live'}_{prefix}_{_random_base62(32)}"
    return prefix, body + checksum(body)


def _random_base62(length: int) -> str:
    return "".join(secrets.choice(BASE62_ALPHABET) for _ in range(length))


def checksum(body: str) -> str:
    """Return the CRC-32 of `body` in six characters of base 62."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(6):
        number, remainder = divmod(number, 62)
        digits = BASE62_ALPHABET[remainder] + digits
    return digits


def digest(text: str) -> str:
    """Return the digest under which a key is stored."""
    return hashlib.sha256(text.encode()).hexdigest()


def is_api_key(token: str) -> bool:
    """Return whether a bearer token is an API key rather than an access token."""
    return token.startswith("gys_")


_principals: MemoryCache[str, Principal] = MemoryCache(MAX_CACHED_KEYS)  # by the digest of the key
_recently_used: MemoryCache[UUID, bool] = MemoryCache(MAX_CACHED_KEYS)


def verify_cached_key(token: str) -> Principal:
    """Return the principal of a key from the cache of this process, without a query.

    Raises ApiKeyRefused (wrong format or checksum), CredentialUnknown (not cached).
    """
    match = KEY_PATTERN.fullmatch(token)
    if not match or not hmac.compare_digest(checksum(token[:-6]), match["crc"]):
        raise ApiKeyRefused
    principal = _principals.get(digest(token))
    if principal is None:
        raise CredentialUnknown
    return principal


def verify_key_in_database(token: str) -> Principal:
    """Return the principal of a key from the database. Two queries. Raises ApiKeyRefused."""
    token_digest = digest(token)
    live = ApiKey.objects.live(now=timezone.now()).filter(owner__is_active=True, owner__deleted_at=None)
    key = (
        live.select_related("owner")
        .prefetch_related("owner__roles")
        .filter(prefix=token.split("_")[2])
        .first()
    )
    if key is None or not hmac.compare_digest(key.digest, token_digest):
        _principals.pop(token_digest)
        raise ApiKeyRefused
    principal = Principal(
        key.owner_id,
        key.pk,
        key.owner.epoch,
        frozenset(role.name for role in key.owner.roles.all()),
        scopes=frozenset(key.scopes),
        limit=key.requests_per_minute,
        networks=tuple(ip_network(network) for network in key.networks),
    )
    seconds_left = (key.expires_at - timezone.now()).total_seconds() if key.expires_at else CACHE_SECONDS
    _principals.set(token_digest, principal, seconds=min(CACHE_SECONDS, seconds_left))
    return principal


def is_live(principal: Principal) -> bool:
    """Return whether the key is live and its owner active with the same epoch. One query."""
    live = ApiKey.objects.live(now=timezone.now()).filter(pk=principal.session_id, owner__is_active=True)
    return live.filter(owner__deleted_at=None, owner__epoch=principal.epoch).exists()


def record_key_use(principal: Principal) -> None:
    """Store when a key was last used, at most once a minute over all processes."""
    if _recently_used.get(principal.session_id):
        return
    now = timezone.now()
    not_recently = Q(last_used_at=None) | Q(last_used_at__lt=now - timedelta(minutes=1))
    ApiKey.objects.filter(not_recently, pk=principal.session_id).update(last_used_at=now)
    _recently_used.set(principal.session_id, True, seconds=60)
