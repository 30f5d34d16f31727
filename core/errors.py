"""The ways this platform says no. `code` is contract, `message` is safe for anyone and holds no ids."""

from dataclasses import dataclass
from typing import Any, ClassVar


class DomainError(Exception):
    """A refusal. `core.http.viewsets` turns it into `application/problem+json` (RFC 9457)."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 400
    message: ClassVar[str] = "This request was refused."

    @property
    def headers(self) -> dict[str, str]:
        return {}

    @property
    def members(self) -> dict[str, Any]:
        """Extension members of the problem (RFC 9457, 3.2)."""
        return {}

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing wrong with the input: `pointer` is a JSON Pointer (RFC 6901) into the body, `code` is
    contract.
    """

    pointer: str
    code: str
    detail: str


class Invalid(DomainError):
    """The input has the wrong shape; `errors` says where."""

    code = "invalid"
    status = 400
    message = "Some values are not valid."

    def __init__(self, errors: list[FieldProblem]) -> None:
        super().__init__()
        self.errors = errors


class NotFound(DomainError):
    code = "not_found"
    status = 404
    message = "There is nothing here."


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


class Unavailable(DomainError):
    """Something we need is away for a moment."""

    code = "unavailable"
    status = 503
    message = "The service is busy. Try again in a moment."

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "2"}


class ImpersonationRefused(DomainError):
    code = "impersonation_refused"
    status = 403
    message = "Nobody does this in the name of somebody else."


class KeyNotAllowed(DomainError):
    code = "api_key_not_allowed"
    status = 403
    message = "This cannot be done with an API key. Sign in."


class ScopeMissing(DomainError):
    code = "insufficient_scope"
    status = 403
    message = "This API key was not given the scope for this."
