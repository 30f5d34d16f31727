"""Every permission there is. Apps name theirs here; roles hold sets of them."""

from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Permission:
    """`code` is `<noun>.<verb>`, stored in roles; `meaning` is shown to whoever edits them."""

    code: str
    meaning: str


_permissions: dict[str, Permission] = {}
_scopes: dict[str, Permission] = {}
_for_keys: set[str] = set()


def permission(code: str, meaning: str) -> Permission:
    """Add a permission to the registry. Raises ValueError when the code is taken."""
    if code in _permissions:
        raise ValueError(f"permission {code!r} is registered twice")
    _permissions[code] = Permission(code, meaning)
    return _permissions[code]


def all_permissions() -> dict[str, Permission]:
    return dict(sorted(_permissions.items()))


def scope(code: str, meaning: str) -> Permission:
    """Add something that an API key may be given, and that every user may do with their own.

    Raises ValueError.
    """
    if code in _scopes:
        raise ValueError(f"scope {code!r} is registered twice")
    _scopes[code] = Permission(code, meaning)
    return _scopes[code]


def all_scopes() -> dict[str, Permission]:
    """What API keys may be given: the scopes, and every permission that a view lets keys use."""
    return dict(sorted((_scopes | {code: _permissions[code] for code in _for_keys}).items()))


def also_for_keys(*permissions: Permission) -> None:
    """Let API keys be given these permissions; whoever owns the key must have them too."""
    _for_keys.update(item.code for item in permissions)


ADMIN_ACCESS = permission("admin.access", "Enter the admin site")
ADMIN_WRITE = permission("admin.write", "Change records in the admin site")


class Caller(Protocol):
    """Whoever is signed in at an API view. Only `row` and `may` cost a query."""

    pk: UUID
    is_key: bool
    impersonator: UUID | None

    def row(self) -> Any: ...

    def may(self, permission: Permission) -> bool: ...

    def require_recent_proof(self) -> None: ...
