"""User accounts: creating, changing, deleting, restoring, and setting passwords."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from accounts.errors import EmailTaken, ZeroKnowledgePermanent, ZeroKnowledgeStaff
from accounts.models import EmailProof, Kdf, Role, User, normalise_email
from accounts.services.roles import (
    USER_ROLE,
    lock_admin_role,
    require_another_admin,
    require_permissions_within,
    set_roles,
)
from accounts.services.sessions import close_all_sessions
from accounts.services.unverified_credentials import remove_unverified_credentials
from audit import actors
from audit.actors import Actor
from audit.services import record
from audit.subjects import Subject
from core import lifecycle
from core.http.preconditions import ANY_VERSION, IfMatch
from core.jobs import mail

PASSWORD_FIELDS = ["password", "scheme", "kdf_iterations", "kdf_salt"]


def register_user(
    *,
    email: str,
    password: str,
    kdf: Kdf | None = None,
    name: str = "",
    age: int | None = None,
    role: str = USER_ROLE,
    actor: Actor | None = None,
    verified_at: datetime | None = None,
) -> User:
    """Create an account. Without `actor` its owner is recorded as the actor.

    The password must be validated already. With `kdf` the account uses zero-knowledge login and `password` is
    the auth hash that its client derived. Raises EmailTaken, also for parallel registrations.
    """
    return insert_user(
        email=email,
        password_hash=make_password(password),
        kdf=kdf,
        name=name,
        age=age,
        roles={role},
        actor=actor,
        verified_at=verified_at,
    )


def insert_user(
    *,
    email: str,
    password_hash: str,
    name: str,
    age: int | None,
    roles: set[str],
    actor: Actor | None,
    verified_at: datetime | None,
    kdf: Kdf | None = None,
) -> User:
    """Create an account from a password hash; otherwise like `register_user`. Raises EmailTaken."""
    user = User(
        email=normalise_email(email),
        password=password_hash,
        name=name,
        age=age,
        email_verified_at=verified_at,
    )
    user.kdf = kdf
    with transaction.atomic():
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            raise EmailTaken from None
        user.roles.set(Role.objects.filter(name__in=roles))
        record(
            "user.registered",
            actor=actor or actors.user(user),
            subject=user,
            roles=sorted(roles),
            scheme=user.scheme,
        )
    return user


@transaction.atomic
def change_user(
    user_id: UUID,
    changes: dict[str, Any],
    *,
    actor: Actor,
    if_match: IfMatch,
    allowed_permissions: frozenset[str] | None = None,
) -> User:
    """Change name or age.

    Raises PreconditionFailed, and PermissionsExceeded when the user holds more than `allowed_permissions`.
    """
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    if_match.require_match(user.version)
    require_permissions_within(user.permission_codes(), allowed_permissions)
    values: dict[str, str] = {}
    for name, value in changes.items():
        values |= {f"{name}_before": str(getattr(user, name)), f"{name}_after": str(value)}
        setattr(user, name, value)
    user.version += 1
    user.save(update_fields=[*changes, "version", "updated_at"])
    record("user.changed", actor=actor, subject=user, personal=values, fields=sorted(changes))
    return user


@transaction.atomic
def delete_user(
    user_id: UUID,
    *,
    actor: Actor,
    now: datetime,
    if_match: IfMatch,
    allowed_permissions: frozenset[str] | None = None,
) -> User:
    """Soft-delete an account with everything it owns, and end its sessions.

    Raises PreconditionFailed, LastAdmin, and PermissionsExceeded when the user holds more than
    `allowed_permissions`.
    """
    require_another_admin(user_id)
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    if_match.require_match(user.version)
    require_permissions_within(user.permission_codes(), allowed_permissions)
    user.deleted_at = now
    user.version += 1
    user.save(update_fields=["deleted_at", "version", "updated_at"])
    record("user.deleted", actor=actor, subject=user)
    lifecycle.soft_delete("person", user_id, deleted_at=now)
    close_all_sessions(user_id, now=now, actor=actor)
    return user


@transaction.atomic
def restore_user(user_id: UUID, *, actor: Actor, now: datetime) -> None:
    """Restore a soft-deleted account with everything that was deleted together with it.

    Earlier sessions stay ended and earlier mailed links expire, so a link to restore cannot undo a later
    deletion by staff.
    """
    user = User.objects.deleted().select_for_update(no_key=True).get(pk=user_id)
    assert user.deleted_at is not None
    lifecycle.restore("person", user_id, deleted_at=user.deleted_at)
    User.objects.get_queryset().filter(pk=user_id).update(deleted_at=None, version=F("version") + 1)
    expire_email_links(user, now=now)
    record("user.restored", actor=actor, subject=user)


def set_password(
    user_id: UUID,
    password: str,
    *,
    actor: Actor,
    now: datetime,
    kdf: Kdf | None = None,
    verified_at: datetime | None = None,
    old_password_lost: bool = False,
    reencrypted_data: Any = None,
) -> None:
    """Replace a password, end all sessions and mailed links of the user, and mail a notice.

    The password must be validated already. With `kdf` it is the auth hash that the client of a zero-knowledge
    account derived. `verified_at` is set when the caller has also proved the address. If it was unverified
    before, a stranger may have created the account: its second factors, API keys and identities are removed.

    Data encrypted under the old password of a zero-knowledge account forbids a new one, unless
    `old_password_lost` gives the data up or `reencrypted_data` replaces it (see
    `core.lifecycle.on_password_replaced`, whose callbacks raise their own errors). Raises
    ZeroKnowledgePermanent, ZeroKnowledgeStaff.
    """
    password_hash = make_password(password)
    with transaction.atomic():
        if kdf:
            _lock_roles_of(user_id)
        user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
        if verified_at and not user.email_verified_at:
            remove_unverified_credentials(user, actor=actor, now=now)
        if user.kdf and not kdf:
            raise ZeroKnowledgePermanent
        if kdf and user.is_staff:
            raise ZeroKnowledgeStaff
        if user.kdf or reencrypted_data is not None:
            lifecycle.replace_password(
                user_id, now=now, old_password_lost=old_password_lost, reencrypted=reencrypted_data
            )
        iterations_before = user.kdf_iterations
        _save_password(user, password_hash, kdf=kdf, verified_at=verified_at)
        expire_email_links(user, now=now)
        iterations = [iterations_before, user.kdf_iterations]
        changes = {} if iterations_before == user.kdf_iterations else {"kdf_iterations": iterations}
        record("user.password_changed", actor=actor, subject=_subject(user_id), changes=changes)
        close_all_sessions(user_id, now=now, actor=actor)
        mail.enqueue_mail(user.email, "password_changed", person=user_id, time=f"{now:%Y-%m-%d %H:%M} UTC")


def _save_password(user: User, password_hash: str, *, kdf: Kdf | None, verified_at: datetime | None) -> None:
    user.password = password_hash
    user.kdf = kdf
    user.version += 1
    user.email_verified_at = user.email_verified_at or verified_at
    user.save(update_fields=[*PASSWORD_FIELDS, "version", "email_verified_at", "updated_at"])


def _lock_roles_of(user_id: UUID) -> None:
    """Lock the roles of a user, so that none of them gains staff permissions meanwhile.

    Roles are always locked before users.
    """
    roles = Role.objects.select_for_update(no_key=True).filter(users=user_id)
    list(roles.order_by("pk").values("pk"))


def expire_email_links(user: User, *, now: datetime) -> None:
    """Mark all unused mailed links of this account as used."""
    # A reset request has no user until the worker has looked it up.
    unprocessed_reset = Q(email=user.email, purpose=EmailProof.Purpose.RESET)
    EmailProof.objects.filter(Q(user=user) | unprocessed_reset, used_at=None).update(used_at=now)


@transaction.atomic
def set_active(
    user_id: UUID,
    active: bool,
    *,
    actor: Actor,
    now: datetime,
    allowed_permissions: frozenset[str] | None = None,
) -> None:
    """Enable an account, or disable it and end its sessions.

    A disabled account that is soft-deleted cannot be restored by its owner's link.
    Raises LastAdmin, and PermissionsExceeded when the user holds more than `allowed_permissions`.
    """
    if not active:
        require_another_admin(user_id)
    user = User.objects.get_queryset().select_for_update(no_key=True).get(pk=user_id)
    require_permissions_within(user.permission_codes(), allowed_permissions)
    User.objects.filter(pk=user_id).update(is_active=active, version=F("version") + 1)
    record("user.enabled" if active else "user.disabled", actor=actor, subject=_subject(user_id))
    if not active:
        close_all_sessions(user_id, now=now, actor=actor)


@transaction.atomic
def set_quota(
    user_id: UUID, quota_mib: int | None, *, actor: Actor, allowed_permissions: frozenset[str] | None = None
) -> None:
    """Set the storage quota of a user in MiB; None is the default of the installation (`core.quotas`).

    A quota below what is stored refuses only further growth. Raises PermissionsExceeded when the user holds
    more than `allowed_permissions`.
    """
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    require_permissions_within(user.permission_codes(), allowed_permissions)
    changes = {"quota_mib": [user.quota_mib, quota_mib]}
    user.quota_mib = quota_mib
    user.version += 1
    user.save(update_fields=["quota_mib", "version", "updated_at"])
    record("user.quota_changed", actor=actor, subject=_subject(user_id), changes=changes)


@transaction.atomic
def change_user_as_staff(
    user_id: UUID,
    changes: dict[str, Any],
    *,
    actor: Actor,
    now: datetime,
    if_match: IfMatch = ANY_VERSION,
    allowed_permissions: frozenset[str] | None = None,
) -> None:
    """Change `name`, `age`, `quota_mib`, `is_active` or `roles` (names or rows).

    Raises LastAdmin, PreconditionFailed, ZeroKnowledgeStaff, and PermissionsExceeded beyond
    `allowed_permissions`.
    """
    lock_admin_role()  # always locked before users
    profile: dict[str, Any] = {name: changes[name] for name in ("name", "age") if name in changes}
    user = change_user(
        user_id, profile, actor=actor, if_match=if_match, allowed_permissions=allowed_permissions
    )
    if changes.get("is_active", user.is_active) != user.is_active:
        set_active(
            user_id, changes["is_active"], actor=actor, now=now, allowed_permissions=allowed_permissions
        )
    if changes.get("quota_mib", user.quota_mib) != user.quota_mib:
        set_quota(user_id, changes["quota_mib"], actor=actor, allowed_permissions=allowed_permissions)
    role_names = {str(role) for role in changes.get("roles", user.roles.all())}
    if role_names != {role.name for role in user.roles.all()}:
        set_roles(user_id, role_names, actor=actor, now=now, allowed_permissions=allowed_permissions)


def _subject(user_id: UUID) -> Subject:
    return Subject("user", user_id, owner_id=user_id)
