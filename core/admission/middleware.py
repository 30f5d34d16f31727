"""The admission middleware: rate limit, revocation and cached response of an API request in one Redis call.

When Redis is unavailable, the rate limit is counted in the memory of this process, and the database tells
whether the credential is still valid.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from core import error_events
from core.admission import authenticators, cached_responses
from core.admission.costs import SlowRequests, TooManyAtOnce, rate_limit_key
from core.admission.errors import AddressRefused, CredentialUnknown, TokenInvalid
from core.admission.principals import Principal
from core.admission.rate_limits import LocalRateLimiter, RateLimitResult, TooManyRequests
from core.errors import DomainError, Unavailable
from core.http.client_address import client_address, client_network
from core.http.problems import problem_response
from core.storage import redis
from core.storage.database import is_unavailable

# Values of the credential status that the Lua script returns.
CREDENTIAL_VALID = 0
CREDENTIAL_REVOKED = 1
TOMBSTONES_LOST = 2


@dataclass(slots=True)
class AdmissionResult:
    """The result of admission; views read it as `request.admission`.

    `caller` is the key of the rate limit that the request counts for. `body_key` and `tag_value` say where
    the response may be cached; `cached_body` is the cached response, if any.
    """

    principal: Principal | None
    rate_limit: RateLimitResult
    caller: str
    body_key: str = ""
    tag_value: str = ""
    cached_body: bytes = b""


class AdmissionMiddleware:
    """Refuses API requests over their rate limit or with a bad credential, and serves cached responses.

    Sets `request.principal` and `request.admission`, and adds the `RateLimit-*` headers.
    """

    # The connections of this process to Redis when it last wrote all tombstones (`redis.connections_made`).
    verified_connections = 0

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.local_limiter = LocalRateLimiter()
        self.slow_requests = SlowRequests(max(1, settings.ENV.web_threads - 1))

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(authenticators.API_PREFIX):
            return self.get_response(request)
        # A trailing slash makes no difference.
        request.path_info = request.path_info.rstrip("/")
        request.path = request.path_info
        try:
            admission = self.admit(request)
        except DatabaseError as error:
            if not is_unavailable(error):
                raise
            return problem_response(
                503, code=Unavailable.code, detail=Unavailable.message, headers=Unavailable().headers
            )
        except DomainError as error:
            error_events.publish(request, error)
            return problem_response(
                error.status, code=error.code, detail=error.message, headers=error.headers
            )
        request.admission = admission  # type: ignore[attr-defined]
        if admission.cached_body:
            response: HttpResponseBase = cached_responses.cached_response(request, admission.cached_body)
        else:
            try:
                with self.slow_requests.track(admission.caller):
                    response = self.get_response(request)
            except TooManyAtOnce as error:
                error_events.publish(request, error)
                return problem_response(
                    error.status, code=error.code, detail=error.message, headers=error.headers
                )
            cached_responses.store_response(
                response, body_key=admission.body_key, tag_value=admission.tag_value
            )
        for name, value in admission.rate_limit.headers.items():
            response.headers.setdefault(name, value)
        return response

    def admit(self, request: HttpRequest) -> AdmissionResult:
        """Count the request and check its credential.

        Raises TooManyRequests, TokenInvalid, TokenExpired, TokenRevoked, AddressRefused.
        """
        authenticator = authenticators.authenticator()
        token = authenticators.bearer_token(request.META.get("HTTP_AUTHORIZATION", ""), request.path)
        principal, error = _verify(token)
        request.principal = principal  # type: ignore[attr-defined]  # error event listeners read it
        admission, credential_status = self._count_request(request, principal)
        if not admission.rate_limit.allowed:
            raise TooManyRequests(admission.rate_limit)
        if isinstance(error, TokenInvalid):
            raise error
        if error or (principal and not self._is_valid(principal, credential_status)):
            # The token alone does not decide; an API key, for example, is valid after a change of its owner.
            admission.principal = authenticator.look_up(token or "")
            admission.caller = rate_limit_key(admission.principal)
        request.principal = admission.principal  # type: ignore[attr-defined]
        if admission.principal:
            if not admission.principal.may_come_from(client_address(request)):
                raise AddressRefused
            authenticator.record_use(admission.principal)
        return admission

    def _is_valid(self, principal: Principal, credential_status: int) -> bool:
        if credential_status == TOMBSTONES_LOST:
            return authenticators.authenticator().is_active(principal)
        return credential_status == CREDENTIAL_VALID

    def _verify_tombstones(self, credential_status: int) -> int:
        """Return TOMBSTONES_LOST when a revocation may be missing in Redis, and then write all of them there.

        That is so without the completeness marker, and also when this process has a new connection: Redis may
        have been away while a token was revoked, and may have come back with the marker of before.
        """
        connections = redis.connections_made()
        if credential_status == CREDENTIAL_VALID and connections == self.verified_connections:
            return CREDENTIAL_VALID
        if authenticators.authenticator().restore_tombstones():
            AdmissionMiddleware.verified_connections = connections
        return TOMBSTONES_LOST

    def _count_request(
        self, request: HttpRequest, principal: Principal | None
    ) -> tuple[AdmissionResult, int]:
        """Count the request and read the credential's status and the cached response, in one Redis call.

        Returns the result and the credential's status. When Redis is unavailable, the request is counted in
        this process, and the status of a credential is TOMBSTONES_LOST.
        """
        network = "" if principal else client_network(client_address(request))
        rate_key = rate_limit_key(principal, network)
        own_limit = principal.limit if principal else None
        tag, body_key = cached_responses.cache_keys(request, principal)
        keys = [
            f"limit:{rate_key}",
            f"revoked:{principal.session_id}" if principal else "-",
            f"epoch:{principal.user_id}" if principal else "-",
            "gate:complete",
            cached_responses.tag_key(tag) if tag else "-",
            body_key or "-",
            f"limit:key:{principal.session_id}" if principal and own_limit else "-",
        ]
        epoch = str(principal.epoch) if principal else ""
        arguments = [settings.RATE_LIMIT, epoch, "1" if tag else "0", own_limit or ""]
        try:
            reply = redis.call(lambda client: _script()(keys=keys, args=arguments, client=client))
        except redis.RedisUnavailable:
            burst = min(settings.RATE_LIMIT, own_limit or settings.RATE_LIMIT)
            rate_limit = self.local_limiter.take(rate_key, interval=60 / burst, burst=burst)
            return AdmissionResult(
                principal, rate_limit, rate_key
            ), TOMBSTONES_LOST if principal else CREDENTIAL_VALID
        allowed, remaining, wait_microseconds, limit, credential_status, tag_value, cached_body = reply
        if principal and credential_status != CREDENTIAL_REVOKED:
            credential_status = self._verify_tombstones(credential_status)
        rate_limit = RateLimitResult(bool(allowed), remaining, wait_microseconds / 1e6, limit)
        return AdmissionResult(
            principal, rate_limit, rate_key, body_key, tag_value.decode(), cached_body
        ), credential_status


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


@cache
def _script() -> Any:
    return redis.client().register_script((Path(__file__).parent / "admission.lua").read_text())
