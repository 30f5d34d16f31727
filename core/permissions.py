"""The registry of permissions, which roles hold, and of scopes, which API keys hold.

Each app registers its own with `permission()` and `scope()`.
"""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission or scope. Roles store `code`, `<noun>.<verb>`; editors of roles see `meaning`."""

    code: str
    meaning: str


_permissions: dict[str, Permission] = {}
_scopes: dict[str, Permission] = {}
_permissions_for_api_keys: set[str] = set()


def permission(code: str, meaning: str) -> Permission:
    """Register a permission. Raises ValueError when the code is registered already."""
    if code in _permissions:
        raise ValueError(f"permission {code!r} is registered twice")
    _permissions[code] = Permission(code, meaning)
    return _permissions[code]


def all_permissions() -> dict[str, Permission]:
    """Return the registered permissions by code."""
    return dict(sorted(_permissions.items()))


def scope(code: str, meaning: str) -> Permission:
    """Register a scope, which an API key needs for what every user may do with their own data.

    Raises ValueError when the code is registered already.
    """
    if code in _scopes:
        raise ValueError(f"scope {code!r} is registered twice")
    _scopes[code] = Permission(code, meaning)
    return _scopes[code]


def all_scopes() -> dict[str, Permission]:
    """Return what API keys may hold, by code: the scopes, and the permissions allowed for API keys."""
    permissions = {code: _permissions[code] for code in _permissions_for_api_keys}
    return dict(sorted((_scopes | permissions).items()))


def allow_for_api_keys(*permissions: Permission) -> None:
    """Let API keys hold these permissions. The owner of the key must hold them too."""
    _permissions_for_api_keys.update(item.code for item in permissions)


ADMIN_ACCESS = permission("admin.access", "Enter the admin site")
ADMIN_WRITE = permission("admin.write", "Change records in the admin site")


class Caller(Protocol):
    """The signed-in user of an API view, as `request.user`. The attributes cost no query.

    `is_key` says that the credential is an API key. `impersonator` is the member of staff who acts as the
    user.
    """

    pk: UUID
    is_key: bool
    impersonator: UUID | None

    def row(self) -> Any:
        """Return the user's row; the first call runs a query."""

    def may(self, permission: Permission) -> bool:
        """Return whether the user holds a permission; the first call runs a query."""

    def require_recent_proof(self) -> None:
        """Raise a DomainError unless the user proved their identity within the last minutes."""
