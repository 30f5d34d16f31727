"""Who may do what: roles, and who has them. Nobody hands out what they do not have."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.credentials import revocation
from accounts.errors import BeyondYourRights, BlindStaff, LastAdmin, RoleBuiltIn, RoleInUse, RoleTaken
from accounts.models import Role, Session, User, normalise_email
from audit.actors import SYSTEM, Actor
from audit.services import record
from core.http.preconditions import ANY_VERSION, IfMatch
from core.permissions import ADMIN_ACCESS, all_permissions

ADMIN = "admin"
USER = "user"
BUILT_IN: dict[str, list[str] | None] = {  # None: every permission
    ADMIN: None,
    USER: [],
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
    limit: frozenset[str] | None = None,
    if_match: IfMatch = ANY_VERSION,
) -> None:
    """Give a user exactly these roles, from their next request on. Raises LastAdmin, PreconditionFailed.

    `limit` is what the giver may do: roles beyond it are neither given nor taken. Raises BeyondYourRights,
    BlindStaff.
    """
    lock_admins()
    if ADMIN not in names:
        keep_an_admin(user_id)
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    if_match.require_match(user.version)
    within(user.permission_codes(), limit)
    before = {role.name: role for role in user.roles.all()}
    after = {role.name: role for role in Role.objects.select_for_update(no_key=True).filter(name__in=names)}
    for name in before.keys() ^ after.keys():
        within((before.get(name) or after[name]).permissions, limit)
    if user.kdf and any(ADMIN_ACCESS.code in role.permissions for role in after.values()):
        raise BlindStaff
    user.roles.set(after.values())
    record(
        "user.roles_changed", actor=actor, subject=user, changes={"roles": [sorted(before), sorted(after)]}
    )
    User.objects.filter(pk=user_id).update(version=F("version") + 1)
    revocation.raise_epoch(user_id, now=now)


def within(permissions: Any, limit: frozenset[str] | None) -> None:
    """Raise BeyondYourRights when `permissions` are more than `limit`; None is no limit."""
    if limit is not None and not set(permissions) <= limit:
        raise BeyondYourRights


def lock_admins() -> Role:
    """The role of administrators, held until the end of the transaction. Taken before any user's row."""
    return Role.objects.select_for_update(no_key=True).get(name=ADMIN)


def keep_an_admin(user_id: UUID) -> None:
    """Raise LastAdmin when nobody else could administer; holds off others who ask the same."""
    admins = lock_admins()
    others = admins.users.filter(deleted_at=None, is_active=True).exclude(pk=user_id)
    if admins.users.filter(pk=user_id).exists() and not others.exists():
        raise LastAdmin


@transaction.atomic
def create_role(*, name: str, permissions: list[str], actor: Actor, limit: frozenset[str]) -> Role:
    """A role of this installation's own. Raises RoleTaken, BeyondYourRights."""
    within(permissions, limit)
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
    limit: frozenset[str],
    if_match: IfMatch,
) -> Role:
    """Replace name and permissions; whoever has it feels it on their next request.

    Raises RoleBuiltIn, RoleTaken, BeyondYourRights, PreconditionFailed, BlindStaff.
    """
    role = _own_role(role_id, limit, if_match)
    within(permissions, limit)
    if ADMIN_ACCESS.code in permissions and role.users.filter(scheme=User.Scheme.BLIND).exists():
        raise BlindStaff
    before = [role.name, role.permissions]
    if role.permissions != sorted(
        permissions
    ):  # whoever acts as a holder, or as somebody else by this role, begins anew
        concerned = Session.objects.filter(
            Q(impersonator__roles=role) | Q(user__roles=role, impersonator__isnull=False)
        )
        revocation.end_impersonations(concerned, now=timezone.now())
    role.name, role.permissions, role.version = name, sorted(permissions), role.version + 1
    try:
        with transaction.atomic():
            role.save(update_fields=["name", "permissions", "version"])
    except IntegrityError:
        raise RoleTaken from None
    record(
        "role.changed", actor=actor, subject=role, changes={"role": [before, [role.name, role.permissions]]}
    )
    return role


@transaction.atomic
def delete_role(role_id: UUID, *, actor: Actor, limit: frozenset[str], if_match: IfMatch) -> None:
    """Raises RoleBuiltIn, RoleInUse, BeyondYourRights, PreconditionFailed."""
    role = _own_role(role_id, limit, if_match)
    if role.users.exists():
        raise RoleInUse
    record("role.deleted", actor=actor, subject=role, name=role.name)
    role.delete()


def _own_role(role_id: UUID, limit: frozenset[str], if_match: IfMatch) -> Role:
    role = Role.objects.select_for_update().get(pk=role_id)
    if_match.require_match(role.version)
    if role.built_in:
        raise RoleBuiltIn
    within(
        set(role.permissions) & set(all_permissions()), limit
    )  # what is no permission any more binds nobody
    return role


def upsert_roles(**_: Any) -> None:
    """The built-in roles as this version defines them; runs after each migration."""
    for name, codes in BUILT_IN.items():
        wanted = sorted(all_permissions()) if codes is None else codes
        role, created = Role.objects.get_or_create(
            name=name, defaults={"permissions": wanted, "built_in": True}
        )
        if not created and (role.permissions != wanted or not role.built_in):
            role.permissions = wanted
            role.built_in = True
            role.version = role.version + 1
            role.save(update_fields=["permissions", "built_in", "version"])
            record("role.changed", actor=SYSTEM, subject=role, permissions=wanted)


def ensure_admin(*, email: str, password: str, name: str = "") -> tuple[User, bool]:
    """The admin with this address, made when missing; True when made. An existing one keeps its password."""
    from accounts.services.users import register_user

    found = User.objects.alive().filter(email=normalise_email(email)).first()
    if found is None:
        return register_user(
            email=email, password=password, name=name, role=ADMIN, actor=SYSTEM, verified_at=timezone.now()
        ), True
    if not found.roles.filter(name=ADMIN).exists():
        set_roles(
            found.pk, {role.name for role in found.roles.all()} | {ADMIN}, actor=SYSTEM, now=timezone.now()
        )
    return found, False
