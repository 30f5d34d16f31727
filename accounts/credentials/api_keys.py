"""The form of API keys, and what this process knows of those it has seen.

`gys_<env>_<id>_<secret><crc>`: what is leaked into a log or a repository can be recognised, and what is
mistyped is refused by its checksum before any store is asked. Facts about a key live here for
`CACHE_SECONDS`; a revocation reaches the gate at once by its tombstone.
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

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
FORM = re.compile(r"gys_[a-z]{3,4}_(?P<id>[0-9A-Za-z]{8})_[0-9A-Za-z]{32}(?P<crc>[0-9A-Za-z]{6})")
CACHE_SECONDS = 60.0
MAX_CACHED_KEYS = 4096


class ApiKeyRefused(TokenInvalid):
    code = "api_key_refused"
    message = "This API key is not valid: mistyped, expired or revoked."


def new_key() -> tuple[str, str]:
    """The id and the whole text of a fresh key: 190 random bits, which need no slow hash."""
    pick = lambda length: "".join(secrets.choice(ALPHABET) for _ in range(length))  # noqa: E731
    prefix = pick(8)
    body = f"gys_{'dev' if settings.DEVELOPMENT else 'live'}_{prefix}_{pick(32)}"
    return prefix, body + checksum(body)


def checksum(body: str) -> str:
    """CRC-32 of `body` in six characters of base 62."""
    number = zlib.crc32(body.encode())
    digits = ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return digits


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def looks_like_key(token: str) -> bool:
    return token.startswith("gys_")


_principals: MemoryCache[str, Principal] = MemoryCache(MAX_CACHED_KEYS)  # by the digest of the key
_recently_used: MemoryCache[UUID, bool] = MemoryCache(MAX_CACHED_KEYS)


def read(token: str) -> Principal:
    """The principal of a key that this process knows.

    Raises ApiKeyRefused (wrong checksum), CredentialUnknown.
    """
    form = FORM.fullmatch(token)
    if not form or not hmac.compare_digest(checksum(token[:-6]), form["crc"]):
        raise ApiKeyRefused
    principal = _principals.get(digest(token))
    if principal is None:
        raise CredentialUnknown
    return principal


def look_up(token: str) -> Principal:
    """The principal of a key as the database has it: two queries. Raises ApiKeyRefused."""
    found = digest(token)
    live = ApiKey.objects.live(now=timezone.now()).filter(owner__is_active=True, owner__deleted_at=None)
    key = (
        live.select_related("owner")
        .prefetch_related("owner__roles")
        .filter(prefix=token.split("_")[2])
        .first()
    )
    if key is None or not hmac.compare_digest(key.digest, found):
        _principals.pop(found)
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
    lasts = (key.expires_at - timezone.now()).total_seconds() if key.expires_at else CACHE_SECONDS
    _principals.set(found, principal, seconds=min(CACHE_SECONDS, lasts))
    return principal


def alive(principal: Principal) -> bool:
    """Ask the database whether the key stands, and its owner's epoch."""
    keys = ApiKey.objects.live(now=timezone.now()).filter(pk=principal.session_id, owner__is_active=True)
    return keys.filter(owner__deleted_at=None, owner__epoch=principal.epoch).exists()


def note_use(principal: Principal) -> None:
    """Write down that a key was used: at most once a minute, whatever number of processes sees it."""
    if _recently_used.get(principal.session_id):
        return
    now = timezone.now()
    unused = Q(last_used_at=None) | Q(last_used_at__lt=now - timedelta(minutes=1))
    ApiKey.objects.filter(unused, pk=principal.session_id).update(last_used_at=now)
    _recently_used.set(principal.session_id, True, seconds=60)
