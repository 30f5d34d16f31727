"""Errors of admission: why a credential is not accepted."""

from core.errors import DomainError


class CredentialUnknown(Exception):
    """A well-formed credential that only the database can verify.

    Its request is counted to the client network, because the principal is not known yet.
    """


class TokenInvalid(DomainError):
    code = "token_invalid"
    status = 401
    message = "This access token is not valid."

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="api", error="invalid_token"'}


class TokenExpired(TokenInvalid):
    code = "token_expired"
    message = "This access token has expired. Refresh it."


class TokenRevoked(TokenInvalid):
    code = "token_revoked"
    message = "This access token was revoked. Refresh it."


class AddressRefused(DomainError):
    code = "address_refused"
    status = 403
    message = "This key may not be used from this address."
