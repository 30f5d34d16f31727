"""The gate: one middleware and one Redis call for each API request - limit, revocation, and perhaps the whole answer.

When Redis is away the limit is kept in memory and the database says whether the credential is still good.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from core import metrics, redis, refusals
from core.database import is_away
from core.errors import DomainError, Unavailable
from core.limits import Allowance, LocalBuckets, TooManyRequests, client_address, client_network
from core.preconditions import none_match
from core.problems import problem

API = "/api/v1/"
BODY_SECONDS = 30  # the longest that an answer outlives a change whose announcement was lost
BODY_BYTES = 64 * 1024
VALID, REVOKED, ASK = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a verified credential speaks for. `epoch` is the user's at the time of minting.

    For an API key `session_id` is the key's id, and it has `scopes`, perhaps a limit of its own in requests a minute, and
    perhaps the only networks that it may come from. `impersonator` is the member of staff who acts as the user.
    """

    user_id: UUID
    session_id: UUID
    epoch: int
    roles: frozenset[str]
    scopes: frozenset[str] | None = None
    limit: int | None = None
    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    impersonator: UUID | None = None

    @property
    def bucket(self) -> str:
        """What is limited together: all sessions of a user, or one key."""
        return f"user:{self.user_id}" if self.scopes is None else f"key:{self.session_id}"

    def admits(self, address: str) -> bool:
        """Whether it may come from there."""
        if not self.networks:
            return True
        try:
            found = ip_address(address)
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None) or found
        return any(mapped in network for network in self.networks)


class CredentialUnknown(Exception):
    """A credential of the right form that only a store can judge: its first request is counted to its network."""


class TokenInvalid(DomainError):
    code, status, message = "token_invalid", 401, "This access token is not valid."

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'}


class TokenExpired(TokenInvalid):
    code, message = "token_expired", "This access token has expired. Refresh it."


class TokenRevoked(TokenInvalid):
    code, message = "token_revoked", "This access token was revoked. Refresh it."


class AddressRefused(DomainError):
    code, status, message = "address_refused", 403, "This key may not be used from this address."


class Authenticator(Protocol):
    """What the accounts app gives the gate."""

    def read(self, token: str) -> Principal:
        """Check signature, times and claims without any store. Raises TokenInvalid, TokenExpired, CredentialUnknown."""

    def look_up(self, token: str) -> Principal:
        """Ask the database for what `read` did not know. Raises TokenInvalid."""

    def used(self, principal: Principal) -> None:
        """The credential was admitted."""

    def alive(self, principal: Principal) -> bool:
        """Ask the database whether session and epoch still stand."""

    def restore(self) -> None:
        """Write the tombstones back into a Redis that lost them."""


@dataclass(frozen=True, slots=True)
class Cached:
    """GET answers that may be kept: `pattern` matches the path, `stamp` names what a change makes stale."""

    pattern: re.Pattern[str]
    stamp: Callable[[re.Match[str], Principal], str]


_authenticator: list[Authenticator] = []
_without_credential: set[str] = set()
_cached: list[Cached] = []


def use_authenticator(authenticator: Authenticator) -> None:
    _authenticator[:] = [authenticator]


def ignore_credential(*paths: str) -> None:
    """Routes that sign in by body or cookie: an old Authorization header must not stand in their way."""
    _without_credential.update(API + path for path in paths)


def keep(pattern: str, stamp: Callable[[re.Match[str], Principal], str]) -> None:
    """Keep answers of GET `pattern` for each user until `touch(stamp)`."""
    _cached.append(Cached(re.compile(pattern), stamp))


def touch(*stamps: str) -> None:
    """What was kept under these stamps is stale. Call it after the commit; lost calls heal in `BODY_SECONDS`."""
    if not redis.deliver(lambda client: client.delete(*(f"stamp:{stamp}" for stamp in stamps))):
        metrics.lost_touches.inc()


@dataclass(slots=True)
class Pass:
    """What the gate found out about a request; views see it as `request.gate`."""

    principal: Principal | None
    allowance: Allowance
    body_key: str = ""
    stamp: str = ""
    body: bytes = b""


class GateMiddleware:
    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response
        self.buckets = LocalBuckets()

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(API):
            return self.get_response(request)
        request.path = request.path_info = request.path_info.rstrip("/")  # one with a slash answers the same
        try:
            admitted = self.admit(request)
        except DatabaseError as error:
            if not is_away(error):
                raise
            return problem(503, code=Unavailable.code, detail=Unavailable.message, headers=Unavailable().headers)
        except DomainError as refusal:
            refusals.report(request, refusal)
            return problem(refusal.status, code=refusal.code, detail=refusal.message, headers=refusal.headers)
        request.gate = admitted  # type: ignore[attr-defined]
        if admitted.body:
            response: HttpResponseBase = _kept_answer(request, admitted.body)
        else:
            response = self.get_response(request)
            _keep_answer(admitted, response)
        for name, value in admitted.allowance.headers.items():
            response.headers.setdefault(name, value)
        return response

    def admit(self, request: HttpRequest) -> Pass:
        """Count the request and check its credential. Raises TooManyRequests, TokenInvalid, TokenRevoked."""
        refused: DomainError | None = None
        principal, unknown = None, False
        token = self._token(request)
        try:
            principal = _authenticator[0].read(token) if token is not None else None
        except TokenInvalid as error:
            refused = error
        except CredentialUnknown:
            unknown = True
        request.principal = principal  # type: ignore[attr-defined]  # for whoever records a refusal
        admitted, verdict = self._ask(request, principal)
        if not admitted.allowance.allowed:
            raise TooManyRequests(admitted.allowance)
        if refused:
            raise refused
        if unknown or (principal and verdict != VALID and not (verdict == ASK and self._alive(principal))):
            admitted.principal = _authenticator[0].look_up(token or "")  # a key whose owner changed lives on
        request.principal = admitted.principal  # type: ignore[attr-defined]
        if admitted.principal:
            if not admitted.principal.admits(client_address(request)):
                raise AddressRefused
            _authenticator[0].used(admitted.principal)
        return admitted

    def _alive(self, principal: Principal) -> bool:
        return _authenticator[0].alive(principal)

    def _token(self, request: HttpRequest) -> str | None:
        """The credential of a request; none where it signs in by body or cookie, empty when it is of another kind."""
        header = request.META.get("HTTP_AUTHORIZATION", "")
        if not header or request.path in _without_credential:
            return None
        scheme, _, token = header.partition(" ")
        return token.strip() if scheme.lower() == "bearer" and len(token) <= 4096 else ""

    def _ask(self, request: HttpRequest, principal: Principal | None) -> tuple[Pass, int]:
        who = principal.bucket if principal else f"net:{client_network(client_address(request))}"
        burst = principal.limit if principal and principal.limit else settings.RATE_LIMIT
        interval = 60_000_000 // burst
        stamp, body_key = _places(request, principal)
        keys = [
            f"limit:{who}",
            f"revoked:{principal.session_id}" if principal else "-",
            f"epoch:{principal.user_id}" if principal else "-",
            "gate:complete",
            f"stamp:{stamp}" if stamp else "-",
            body_key or "-",
        ]
        epoch = str(principal.epoch) if principal else ""
        try:
            answer = redis.call(
                lambda client: _script()(keys=keys, args=[interval, burst, epoch, "1" if stamp else "0"], client=client)
            )
        except redis.RedisAway:
            allowance = self.buckets.take(who, interval=interval / 1e6, burst=burst)
            return Pass(principal, allowance), ASK if principal else VALID
        allowed, remaining, wait, verdict, seen, body = answer
        if verdict == ASK:
            _authenticator[0].restore()
        return Pass(
            principal, Allowance(bool(allowed), remaining, wait / 1e6, burst), body_key, seen.decode(), body
        ), verdict


@cache
def _script() -> Any:
    return redis.client().register_script((Path(__file__).parent / "gate.lua").read_text())


def _places(request: HttpRequest, principal: Principal | None) -> tuple[str, str]:
    """The stamp and the key of a kept answer; empty when this request has none."""
    if principal is None or principal.scopes is not None or request.method != "GET":
        return "", ""
    for kept in _cached:
        if found := kept.pattern.match(request.path):
            return kept.stamp(found, principal), f"body:{principal.user_id}:{principal.epoch}:{request.get_full_path()}"
    return "", ""


def _kept_answer(request: HttpRequest, stored: bytes) -> HttpResponse:
    _, etag, body = stored.split(b"\n", 2)
    response = HttpResponse(body, content_type="application/json")
    if etag:
        response["ETag"] = etag.decode()
        if none_match(request.headers.get("If-None-Match", ""), etag.decode()):
            response = HttpResponse(status=304, headers={"ETag": etag.decode()})
    response["Cache-Control"] = "private, no-cache"
    return response


def _keep_answer(admitted: Pass, response: HttpResponseBase) -> None:
    """Keep a fresh 200 under the stamp that was seen before the database was read, so a later change wins."""
    if not admitted.stamp or response.status_code != 200 or response.streaming:
        return
    content: bytes = response.content  # type: ignore[attr-defined]
    if len(content) > BODY_BYTES:
        return
    stored = b"\n".join([admitted.stamp.encode(), response.headers.get("ETag", "").encode(), content])
    try:
        redis.call(lambda client: client.set(admitted.body_key, stored, ex=BODY_SECONDS))
    except redis.RedisAway:
        return
