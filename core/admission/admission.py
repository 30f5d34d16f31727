"""Admission of an API request: its rate limit, its credential and its cached response, in one call of Redis.

When Redis is unavailable, the rate limit is counted in the memory of this process, and the database tells
whether the credential is still valid.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError, close_old_connections

from core.admission import authenticators, cached_responses
from core.admission.costs import rate_limit_key
from core.admission.errors import AddressRefused, CredentialUnknown, TokenInvalid
from core.admission.principals import Principal
from core.admission.rate_limits import LocalRateLimiter, RateLimitResult, TooManyRequests
from core.errors import Unavailable
from core.http.client_address import client_address_of_environ, client_network
from core.storage import redis
from core.storage.database import is_unavailable
from core.storage.redis_scripts import Script

# Values of the credential status that the Lua script returns.
CREDENTIAL_VALID = 0
CREDENTIAL_REVOKED = 1
ASK_DATABASE = 2  # a revocation may be missing in Redis
# The keys of the WSGI environ that hold the result of `admit`, and the principal also when it raises.
ADMISSION = "getyousite.admission"
PRINCIPAL = "getyousite.principal"

Environ = dict[str, Any]
_script = Script((Path(__file__).parent / "admission.lua").read_text())
_local_limiter = LocalRateLimiter()
# The connections of this process to Redis when it last wrote all tombstones (`redis.connections_made`).
_verified_connections = 0


@dataclass(slots=True)
class AdmissionResult:
    """The result of admission; views read it as `request.admission`.

    `caller` is the key of the rate limit that the request counts for. `tag`, `body_key` and `tag_value` say
    where the response may be cached; `cached_body` is the cached response, if any.
    """

    principal: Principal | None
    rate_limit: RateLimitResult
    caller: str
    tag: str = ""
    body_key: str = ""
    tag_value: str = ""
    cached_body: bytes = b""


def admit(environ: Environ) -> AdmissionResult:
    """Count a request and check its credential. Sets `environ[PRINCIPAL]`, and `environ[ADMISSION]` at last.

    Raises TooManyRequests, TokenInvalid, TokenExpired, TokenRevoked, AddressRefused, Unavailable.
    """
    try:
        admission = _admit(environ)
    except DatabaseError as error:
        if not is_unavailable(error):
            raise
        raise Unavailable from None
    environ[ADMISSION] = admission
    return admission


def _admit(environ: Environ) -> AdmissionResult:
    authenticator = authenticators.authenticator()
    path = environ["PATH_INFO"].rstrip("/")  # a final slash makes no difference
    token = authenticators.bearer_token(environ.get("HTTP_AUTHORIZATION", ""), path)
    principal, error = _verify(token)
    environ[PRINCIPAL] = principal  # error event listeners read it
    admission, credential_status = _count_request(environ, path, principal)
    if not admission.rate_limit.allowed:
        raise TooManyRequests(admission.rate_limit)
    if isinstance(error, TokenInvalid):
        raise error
    if error or (principal and not _is_valid(principal, credential_status)):
        # A cached API key stays valid when the epoch of its owner is raised, so it is read again. For an
        # access token this raises TokenRevoked.
        try:
            admission.principal = authenticator.look_up(token or "")
        finally:
            close_old_connections()  # Django does this only at the end of its own requests
        admission.caller = rate_limit_key(admission.principal)
        environ[PRINCIPAL] = admission.principal
    if admission.principal:
        if admission.principal.networks and not admission.principal.may_come_from(
            client_address_of_environ(environ)
        ):
            raise AddressRefused
        authenticator.record_use(admission.principal)
    return admission


def _is_valid(principal: Principal, credential_status: int) -> bool:
    if credential_status == ASK_DATABASE:
        try:
            return authenticators.authenticator().is_active(principal)
        finally:
            close_old_connections()
    return credential_status == CREDENTIAL_VALID


def _verify_tombstones(credential_status: int) -> int:
    """Return ASK_DATABASE when a revocation may be missing in Redis, and then write all of them there.

    That is so without the completeness marker, and also when this process has a new connection: Redis may
    have been away while a token was revoked, and may have come back with the marker of before.
    """
    global _verified_connections
    connections = redis.connections_made()
    if credential_status == CREDENTIAL_VALID and connections == _verified_connections:
        return CREDENTIAL_VALID
    try:
        if authenticators.authenticator().restore_tombstones():
            _verified_connections = connections
    finally:
        close_old_connections()
    return ASK_DATABASE


def _count_request(environ: Environ, path: str, principal: Principal | None) -> tuple[AdmissionResult, int]:
    """Count the request and read the credential's status and the cached response, in one Redis call.

    Returns the result and the credential's status. When Redis is unavailable, the request is counted in this
    process, and the status of a credential is ASK_DATABASE.
    """
    network = "" if principal else client_network(client_address_of_environ(environ))
    rate_key = rate_limit_key(principal, network)
    own_limit = principal.limit if principal else None
    tag, body_key = cached_responses.cache_keys(environ, path, principal)
    keys = (
        f"limit:{rate_key}",
        f"revoked:{principal.session_text}" if principal else "-",
        f"epoch:{principal.user_text}" if principal else "-",
        "gate:complete",
        cached_responses.tag_key(tag) if tag else "-",
        body_key or "-",
        f"limit:key:{principal.session_text}" if principal and own_limit else "-",
    )
    epoch = str(principal.epoch) if principal else ""
    try:
        reply = _script.run(keys, (settings.RATE_LIMIT, epoch, "1" if tag else "0", own_limit or ""))
    except redis.RedisUnavailable:
        burst = min(settings.RATE_LIMIT, own_limit or settings.RATE_LIMIT)
        rate_limit = _local_limiter.take(rate_key, interval=60 / burst, burst=burst)
        status = ASK_DATABASE if principal else CREDENTIAL_VALID
        return AdmissionResult(principal, rate_limit, rate_key), status
    allowed, remaining, wait_microseconds, limit, credential_status, tag_value, cached_body = reply
    if principal and allowed and credential_status != CREDENTIAL_REVOKED:
        credential_status = _verify_tombstones(credential_status)
    rate_limit = RateLimitResult(bool(allowed), remaining, wait_microseconds / 1e6, limit)
    return (
        AdmissionResult(principal, rate_limit, rate_key, tag, body_key, tag_value.decode(), cached_body),
        credential_status,
    )


def _verify(token: str | None) -> tuple[Principal | None, TokenInvalid | CredentialUnknown | None]:
    """Return the principal of a token, or the reason why it has no principal.

    The reason is returned and not raised, because the request must be counted before it is refused.
    """
    if token is None:
        return None, None
    try:
        return authenticators.authenticator().verify(token), None
    except (TokenInvalid, CredentialUnknown) as error:
        return None, error
