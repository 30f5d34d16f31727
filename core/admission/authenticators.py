"""The registry through which the accounts app verifies credentials for the admission middleware."""

from typing import Protocol

from core.admission.principals import Principal
from core.http.routes import API_PREFIX


class Authenticator(Protocol):
    """Verifies the credentials of API requests. The accounts app registers one."""

    def verify(self, token: str) -> Principal:
        """Verify signature, times and claims without asking a store.

        Raises TokenInvalid, TokenExpired, and CredentialUnknown when only the database can decide.
        """

    def look_up(self, token: str) -> Principal:
        """Verify with the database what `verify` could not decide. Raises TokenInvalid."""

    def record_use(self, principal: Principal) -> None:
        """Note that the credential of `principal` was admitted."""

    def is_active(self, principal: Principal) -> bool:
        """Return whether session and epoch of `principal` are valid according to the database."""

    def restore_tombstones(self) -> bool:
        """Write all revocation tombstones into Redis; return whether it took them."""


_authenticators: list[Authenticator] = []
_paths_without_credential: set[str] = set()


def register_authenticator(authenticator: Authenticator) -> None:
    """Verify credentials with `authenticator`. For `AppConfig.ready()`."""
    _authenticators[:] = [authenticator]


def authenticator() -> Authenticator:
    """Return the registered authenticator."""
    return _authenticators[0]


def ignore_credential(*paths: str) -> None:
    """Ignore the Authorization header at these paths below `/api/v1/`. For `AppConfig.ready()`.

    They sign in by body or cookie, and an expired header that the client still sends must not refuse them.
    """
    _paths_without_credential.update(API_PREFIX + path for path in paths)


def bearer_token(header: str, path: str) -> str | None:
    """Return the bearer token of an Authorization header.

    None when there is no header or `path` ignores it; empty when the header has another scheme or is too
    long.
    """
    if not header or path in _paths_without_credential:
        return None
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and len(token) <= 4096 else ""
