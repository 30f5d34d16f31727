"""Roles and who has them. A caller can neither give nor take permissions beyond their own."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.credentials import revocation
from accounts.errors import (
    LastAdmin,
    PermissionsExceeded,
    RoleBuiltIn,
    RoleInUse,
    RoleTaken,
    ZeroKnowledgeStaff,
)
from accounts.models import Role, Session, User
from audit.actors import SYSTEM, Actor
from audit.services import record
from core.admission import cached_responses
from core.http.preconditions import ANY_VERSION, IfMatch
from core.permissions import ADMIN_ACCESS, all_permissions
from core.storage.database import table_exists

ADMIN_ROLE = "admin"
USER_ROLE = "user"
BUILT_IN_ROLES: dict[str, list[str] | None] = {  # None: all permissions
    ADMIN_ROLE: None,
    USER_ROLE: [],
    "support": ["admin.access", "audit.read", "logs.read", "roles.read", "users.read"],
    "buyer": [],
    "seller": [],
    "agent": [],
    "tenant": [],
    "manager": [],
}


@transaction.atomic
def set_roles(
    user_id: UUID,
    names: set[str],
    *,
    actor: Actor,
    now: datetime,
    allowed_permissions: frozenset[str] | None = None,
    if_match: IfMatch = ANY_VERSION,
) -> None:
    """Give a user exactly these roles, from their next request on.

    `allowed_permissions` are those of the caller: a role beyond them is neither given nor taken (None: no
    limit). Raises LastAdmin, PreconditionFailed, PermissionsExceeded, ZeroKnowledgeStaff.
    """
    lock_admin_role()
    if ADMIN_ROLE not in names:
        require_another_admin(user_id)
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    if_match.require_match(user.version)
    require_permissions_within(user.permission_codes(), allowed_permissions)
    before = {role.name: role for role in user.roles.all()}
    after = {role.name: role for role in Role.objects.select_for_update(no_key=True).filter(name__in=names)}
    for name in before.keys() ^ after.keys():
        require_permissions_within((before.get(name) or after[name]).permissions, allowed_permissions)
    if user.kdf and any(ADMIN_ACCESS.code in role.permissions for role in after.values()):
        raise ZeroKnowledgeStaff
    user.roles.set(after.values())
    record(
        "user.roles_changed", actor=actor, subject=user, changes={"roles": [sorted(before), sorted(after)]}
    )
    User.objects.filter(pk=user_id).update(version=F("version") + 1)
    revocation.raise_epoch(user_id, now=now)


def require_permissions_within(
    permissions: Iterable[str], allowed_permissions: frozenset[str] | None
) -> None:
    """Raise PermissionsExceeded for a permission outside `allowed_permissions`. None allows all."""
    if allowed_permissions is not None and not set(permissions) <= allowed_permissions:
        raise PermissionsExceeded


def lock_admin_role() -> Role:
    """Return the admin role, locked until the end of the transaction. Always locked before users."""
    return Role.objects.select_for_update(no_key=True).get(name=ADMIN_ROLE)


def require_another_admin(user_id: UUID) -> None:
    """Raise LastAdmin when this user is the only active administrator. Locks the admin role."""
    admin_role = lock_admin_role()
    others = admin_role.users.filter(deleted_at=None, is_active=True).exclude(pk=user_id)
    if admin_role.users.filter(pk=user_id).exists() and not others.exists():
        raise LastAdmin


@transaction.atomic
def create_role(
    *, name: str, permissions: list[str], actor: Actor, allowed_permissions: frozenset[str]
) -> Role:
    """Create a custom role. Raises RoleTaken, PermissionsExceeded."""
    require_permissions_within(permissions, allowed_permissions)
    try:
        with transaction.atomic():
            role = Role.objects.create(name=name, permissions=sorted(permissions))
    except IntegrityError:
        raise RoleTaken from None
    record("role.created", actor=actor, subject=role, name=name, permissions=role.permissions)
    return role


@transaction.atomic
def change_role(
    role_id: UUID,
    *,
    name: str,
    permissions: list[str],
    actor: Actor,
    allowed_permissions: frozenset[str],
    if_match: IfMatch,
) -> Role:
    """Replace name and permissions of a custom role. Takes effect on the next request of its users.

    Raises RoleBuiltIn, RoleTaken, PermissionsExceeded, PreconditionFailed, ZeroKnowledgeStaff.
    """
    role = _lock_custom_role(role_id, allowed_permissions, if_match)
    require_permissions_within(permissions, allowed_permissions)
    zero_knowledge_users = role.users.filter(scheme=User.Scheme.ZERO_KNOWLEDGE)
    if ADMIN_ACCESS.code in permissions and zero_knowledge_users.exists():
        raise ZeroKnowledgeStaff
    before = [role.name, role.permissions]
    if role.permissions != sorted(permissions):
        # Whether these impersonations are allowed depends on the permissions of both users.
        affected = Session.objects.filter(
            Q(impersonator__roles=role) | Q(user__roles=role, impersonator__isnull=False)
        )
        revocation.end_impersonations(affected, now=timezone.now())
    role.name = name
    role.permissions = sorted(permissions)
    role.version += 1
    try:
        with transaction.atomic():
            role.save(update_fields=["name", "permissions", "version"])
    except IntegrityError:
        raise RoleTaken from None
    holders = role.users.values_list("pk", flat=True)
    cached_responses.invalidate_after_commit(*map(cached_responses.user_tag, holders))
    record(
        "role.changed", actor=actor, subject=role, changes={"role": [before, [role.name, role.permissions]]}
    )
    return role


@transaction.atomic
def delete_role(
    role_id: UUID, *, actor: Actor, allowed_permissions: frozenset[str], if_match: IfMatch
) -> None:
    """Delete a custom role. Raises RoleBuiltIn, RoleInUse, PermissionsExceeded, PreconditionFailed."""
    role = _lock_custom_role(role_id, allowed_permissions, if_match)
    if role.users.exists():
        raise RoleInUse
    record("role.deleted", actor=actor, subject=role, name=role.name)
    role.delete()


def _lock_custom_role(role_id: UUID, allowed_permissions: frozenset[str], if_match: IfMatch) -> Role:
    """Lock and return a role. Raises PreconditionFailed, RoleBuiltIn, PermissionsExceeded."""
    role = Role.objects.select_for_update().get(pk=role_id)
    if_match.require_match(role.version)
    if role.built_in:
        raise RoleBuiltIn
    # Codes that this version no longer defines do not count.
    require_permissions_within(set(role.permissions) & set(all_permissions()), allowed_permissions)
    return role


def upsert_roles(**_: Any) -> None:
    """Create or update the built-in roles.

    Receiver of `post_migrate`, also after the table was migrated away.
    """
    if not table_exists(Role._meta.db_table):
        return
    for name, codes in BUILT_IN_ROLES.items():
        permissions = sorted(all_permissions()) if codes is None else codes
        role, created = Role.objects.get_or_create(
            name=name, defaults={"permissions": permissions, "built_in": True}
        )
        if not created and (role.permissions != permissions or not role.built_in):
            role.permissions = permissions
            role.built_in = True
            role.version += 1
            role.save(update_fields=["permissions", "built_in", "version"])
            record("role.changed", actor=SYSTEM, subject=role, permissions=permissions)
