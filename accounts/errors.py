"""The ways accounts say no."""

from core.errors import DomainError


class EmailTaken(DomainError):
    code, status, message = "email_taken", 409, "There is already an account with this e-mail address."


class CredentialsRefused(DomainError):
    code, status, message = "invalid_credentials", 401, "This e-mail address and password do not go together."


class RefreshRefused(DomainError):
    code, status, message = "refresh_refused", 401, "Sign in again."


class OriginRefused(DomainError):
    code, status, message = "origin_refused", 403, "This request did not come from a page that may make it."


class LastAdmin(DomainError):
    code, status, message = "last_admin", 409, "This is the last administrator. Appoint another one first."
