"""Accounts that staff or commands create."""

from datetime import datetime

from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.utils import timezone

from accounts.models import Role, User, normalise_email
from accounts.services.email_links import request_password_reset
from accounts.services.roles import (
    ADMIN_ROLE,
    require_permissions_within,
    set_roles,
)
from accounts.services.users import insert_user, register_user
from audit.actors import SYSTEM, Actor


@transaction.atomic
def create_user(
    *,
    email: str,
    name: str = "",
    age: int | None = None,
    roles: set[str],
    actor: Actor,
    allowed_permissions: frozenset[str],
    now: datetime,
) -> User:
    """Create an account on behalf of staff and mail its owner a link to choose a password.

    Raises EmailTaken, and PermissionsExceeded for roles beyond `allowed_permissions`.
    """
    for role in Role.objects.filter(name__in=roles):
        require_permissions_within(role.permissions, allowed_permissions)
    user = insert_user(
        email=email,
        password_hash=make_password(None),
        name=name,
        age=age,
        roles=roles,
        actor=actor,
        verified_at=None,
    )
    request_password_reset(email, now=now)
    return user


def ensure_admin(*, email: str, password: str, name: str = "") -> tuple[User, bool]:
    """Return the administrator with this address, and whether the account was created.

    An existing account gets the admin role and keeps its password. Raises ZeroKnowledgeStaff.
    """
    user = User.objects.alive().filter(email=normalise_email(email)).first()
    if user is None:
        user = register_user(
            email=email,
            password=password,
            name=name,
            role=ADMIN_ROLE,
            actor=SYSTEM,
            verified_at=timezone.now(),
        )
        return user, True
    if not user.roles.filter(name=ADMIN_ROLE).exists():
        names = {role.name for role in user.roles.all()} | {ADMIN_ROLE}
        set_roles(user.pk, names, actor=SYSTEM, now=timezone.now())
    return user, False
