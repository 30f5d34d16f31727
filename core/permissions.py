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


def permission(code: str, meaning: str) -> Permission:
    """Add a permission to the registry. Raises ValueError when the code is taken."""
    if code in _permissions:
        raise ValueError(f"permission {code!r} is registered twice")
    _permissions[code] = Permission(code, meaning)
    return _permissions[code]


def all_permissions() -> dict[str, Permission]:
    return dict(sorted(_permissions.items()))


ADMIN_ACCESS = permission("admin.access", "Enter the admin site")
ADMIN_WRITE = permission("admin.write", "Change records in the admin site")


class Caller(Protocol):
    """Whoever is signed in at an API view. Only `row` and `may` cost a query."""

    pk: UUID

    def row(self) -> Any: ...

    def may(self, permission: Permission) -> bool: ...
