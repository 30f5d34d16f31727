"""DomainError, the base class of all refusals, and the refusals that every app may raise.

`code` is part of the API contract. `message` is shown to users: it holds no ids, SQL or paths.
"""

from dataclasses import dataclass
from typing import Any, ClassVar


class DomainError(Exception):
    """A refusal. `core.http.exceptions` turns it into `application/problem+json` (RFC 9457)."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    message: ClassVar[str] = "This request was refused."

    @property
    def headers(self) -> dict[str, str]:
        return {}

    @property
    def members(self) -> dict[str, Any]:
        """Extension members of the problem (RFC 9457 section 3.2)."""
        return {}

    def __str__(self) -> str:
        return self.message


class TextRefused(ValueError):
    """A parser of text refuses it. The message is for the people who wrote it: it says what is allowed."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One invalid value of the input.

    `pointer` is a JSON Pointer (RFC 6901) into the body, `code` is part of the API contract.
    """

    pointer: str
    code: str
    detail: str


class Invalid(DomainError):
    """The input is not valid. `errors` lists the invalid values."""

    code = "invalid"
    status = 400
    message = "Some values are not valid."

    def __init__(self, errors: list[FieldProblem]) -> None:
        super().__init__()
        self.errors = errors


class NotFound(DomainError):
    code = "not_found"
    status = 404
    message = "This resource does not exist, or you have no right to see it."


class PreconditionRequired(DomainError):
    code = "precondition_required"
    status = 428
    message = "Send If-Match with the ETag you last read."


class PreconditionFailed(DomainError):
    code = "precondition_failed"
    status = 412
    message = "This was changed since you read it. Read it again."


class PayloadTooLarge(DomainError):
    code = "payload_too_large"
    status = 413
    message = "This body is larger than this route accepts."


class QuotaExceeded(DomainError):
    """The write would exceed the storage quota of the owner. Both members are bytes, without this write."""

    code = "quota_exceeded"
    status = 413
    message = "The storage of the owner has no room for this. Delete something, or ask for a larger quota."

    def __init__(self, *, used: int, allowed: int) -> None:
        super().__init__()
        self.used = used
        self.allowed = allowed

    @property
    def members(self) -> dict[str, Any]:
        return {"used": self.used, "allowed": self.allowed}


class BodyIncomplete(DomainError):
    code = "body_incomplete"
    status = 400
    message = "The connection ended before the whole body was received."


class BodyTooSlow(DomainError):
    """A request body arrives too slowly (RFC 9110 section 15.5.9)."""

    code = "body_too_slow"
    status = 408
    message = "This body was sent too slowly."

    @property
    def headers(self) -> dict[str, str]:
        # PEP 3333 reserves this header for servers, but Granian sends what it gets. The rest of the body
        # makes the connection useless for another request.
        return {"Connection": "close"}


class Unavailable(DomainError):
    """A service that we need, such as the database, is unavailable for a moment."""

    code = "unavailable"
    status = 503
    message = "The service is busy. Try again in a moment."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "2"}


class ImpersonationRefused(DomainError):
    code = "impersonation_refused"
    status = 403
    message = "You cannot do this while you act as another user."


class KeyNotAllowed(DomainError):
    code = "api_key_not_allowed"
    status = 403
    message = "This cannot be done with an API key. Sign in."


class ScopeMissing(DomainError):
    code = "insufficient_scope"
    status = 403
    message = "This API key does not have the scope for this."
