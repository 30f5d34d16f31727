"""Accounts: made, changed, hidden, brought back, purged."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth.hashers import make_password
from django.db import IntegrityError, transaction
from django.db.models import F, Q

from accounts.errors import BlindForGood, BlindStaff, CredentialsRefused, EmailTaken
from accounts.models import EmailProof, Kdf, Role, User, normalise_email
from accounts.selectors import factors_of
from accounts.services.roles import USER, keep_an_admin, lock_admins, set_roles, within
from accounts.services.sessions import close_all_sessions
from audit import actors
from audit.actors import Actor
from audit.services import record
from audit.subjects import Subject
from core import lifecycle
from core.http.preconditions import ANY_VERSION, IfMatch
from core.jobs import mail

KEPT = ["password", "scheme", "kdf_iterations", "kdf_salt"]  # of a password, or of what stands for it


def register_user(
    *,
    email: str,
    password: str,
    kdf: Kdf | None = None,
    name: str = "",
    age: int | None = None,
    role: str = USER,
    actor: Actor | None = None,
    verified_at: datetime | None = None,
) -> User:
    """A new account, made by its owner when no `actor` is given.

    Raises EmailTaken, also when two try at once.

    The password must have been checked; with `kdf` it is what the client of a blind account derived.
    """
    return add_user(
        email=email,
        encoded=make_password(password),
        kdf=kdf,
        name=name,
        age=age,
        roles={role},
        actor=actor,
        verified_at=verified_at,
    )


def add_user(
    *,
    email: str,
    encoded: str,
    name: str,
    age: int | None,
    roles: set[str],
    actor: Actor | None,
    verified_at: datetime | None,
    kdf: Kdf | None = None,
) -> User:
    """As `register_user`, with the password hashed already."""
    user = User(
        email=normalise_email(email), password=encoded, name=name, age=age, email_verified_at=verified_at
    )
    user.kdf = kdf
    with transaction.atomic():
        try:
            with transaction.atomic():
                user.save(force_insert=True)
        except IntegrityError:
            raise EmailTaken from None
        user.roles.set(Role.objects.filter(name__in=roles))
        by = actor or actors.user(user)
        record("user.registered", actor=by, subject=user, roles=sorted(roles), scheme=user.scheme)
    return user


@transaction.atomic
def create_user(
    *,
    email: str,
    name: str = "",
    age: int | None = None,
    roles: set[str],
    actor: Actor,
    limit: frozenset[str],
    now: datetime,
) -> User:
    """An account made by staff; its owner gets a link to choose a password.

    Raises EmailTaken, BeyondYourRights.
    """
    from accounts.services.email_links import request_reset

    for role in Role.objects.filter(name__in=roles):
        within(role.permissions, limit)
    user = add_user(
        email=email,
        encoded=make_password(None),
        name=name,
        age=age,
        roles=roles,
        actor=actor,
        verified_at=None,
    )
    request_reset(email, now=now)
    return user


@transaction.atomic
def change_user(
    user_id: UUID,
    changes: dict[str, Any],
    *,
    actor: Actor,
    if_match: IfMatch,
    limit: frozenset[str] | None = None,
) -> User:
    """Change name or age. Raises PreconditionFailed, and BeyondYourRights past the rights in `limit`."""
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    if_match.require_match(user.version)
    within(user.permission_codes(), limit)
    told: dict[str, str] = {}
    for name, value in changes.items():
        told |= {f"{name}_before": str(getattr(user, name)), f"{name}_after": str(value)}
        setattr(user, name, value)
    user.version += 1
    user.save(update_fields=[*changes, "version", "updated_at"])
    record("user.changed", actor=actor, subject=user, personal=told, fields=sorted(changes))
    return user


@transaction.atomic
def delete_user(
    user_id: UUID, *, actor: Actor, now: datetime, if_match: IfMatch, limit: frozenset[str] | None = None
) -> User:
    """Hide an account with everything it owns, and sign it out.

    Raises PreconditionFailed, LastAdmin, BeyondYourRights.
    """
    keep_an_admin(user_id)
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
    if_match.require_match(user.version)
    within(user.permission_codes(), limit)
    user.deleted_at = now
    user.version = user.version + 1
    user.save(update_fields=["deleted_at", "version", "updated_at"])
    record("user.deleted", actor=actor, subject=user)
    lifecycle.soft_delete("person", user_id, deleted_at=now)
    close_all_sessions(user_id, now=now, actor=actor)
    return user


@transaction.atomic
def restore_user(user_id: UUID, *, actor: Actor, now: datetime) -> None:
    """Bring back a hidden account with what was hidden with it.

    The person signs in anew, and links of before are good for nothing: what staff close next stays closed.
    """
    user = User.objects.deleted().select_for_update(no_key=True).get(pk=user_id)
    assert user.deleted_at is not None
    lifecycle.restore("person", user_id, deleted_at=user.deleted_at)
    User.objects.get_queryset().filter(pk=user_id).update(deleted_at=None, version=F("version") + 1)
    end_links(user, now=now)
    record("user.restored", actor=actor, subject=user)


def set_password(
    user_id: UUID,
    password: str,
    *,
    actor: Actor,
    now: datetime,
    kdf: Kdf | None = None,
    verified_at: datetime | None = None,
    lost: bool = False,
    brought: Any = None,
) -> None:
    """Replace a password, end every session and every link that could replace it again, and tell the owner.

    The password must have been checked; with `kdf` it is what the client of a blind account derived.
    `verified_at`: this proved the address, too. If nobody had proved it before, whoever made the account may
    have been a stranger: their factors and keys go. What the old password of a blind account opens stands
    against a new one, unless the old one is `lost` or it was `brought` sealed anew
    (`core.lifecycle.on_password_replaced`). Raises BlindForGood, BlindStaff, and what stands against it.
    """
    encoded = make_password(password)
    with transaction.atomic():
        if kdf:  # roles before people, as everywhere: none of theirs becomes one of staff meanwhile
            list(
                Role.objects.select_for_update(no_key=True).filter(users=user_id).order_by("pk").values("pk")
            )
        user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id)
        if verified_at and not user.email_verified_at:
            delete_unconfirmed_users(user, actor=actor, now=now)
        if user.kdf and not kdf:
            raise BlindForGood
        if kdf and user.is_staff:
            raise BlindStaff
        if user.kdf or brought is not None:
            lifecycle.replace_password(user_id, now=now, old_password_lost=lost, reencrypted=brought)
        before = user.kdf_iterations
        user.password = encoded
        user.kdf = kdf
        user.version = user.version + 1
        user.email_verified_at = user.email_verified_at or verified_at
        user.save(update_fields=[*KEPT, "version", "email_verified_at", "updated_at"])
        end_links(user, now=now)
        moved = {"kdf_iterations": [before, user.kdf_iterations]} if before != user.kdf_iterations else {}
        record("user.password_changed", actor=actor, subject=_subject(user_id), changes=moved)
        close_all_sessions(user_id, now=now, actor=actor)
        mail.enqueue_mail(user.email, "password_changed", person=user_id, time=f"{now:%Y-%m-%d %H:%M} UTC")


def delete_unconfirmed_users(user: User, *, actor: Actor, now: datetime) -> None:
    """Take away every way in that was made before anybody proved the address."""
    from accounts.services.api_keys import revoke_api_key
    from accounts.services.mfa import reset_factors

    if factors_of(user.pk).any:
        reset_factors(user.pk, actor=actor)
    for key_id in list(user.api_keys.filter(revoked_at=None).values_list("pk", flat=True)):
        revoke_api_key(key_id, actor=actor, now=now)
    for identity in user.identities.all():
        record("identity.disconnected", actor=actor, subject=identity)
        identity.delete()


def end_links(user: User, *, now: datetime) -> None:
    """Links to this account's mailboxes that are still open are good for nothing from now on."""
    waiting = Q(email=user.email, purpose=EmailProof.Purpose.RESET)  # no worker has seen whose it is
    EmailProof.objects.filter(Q(user=user) | waiting, used_at=None).update(used_at=now)


def hold(user: User) -> None:
    """Lock the row of a user who is about to get another way in.

    Raises CredentialsRefused when what they had proved has ended meanwhile: a password that was reset must
    not let in what was begun before.
    """
    rows = (
        User.objects.alive()
        .select_for_update(no_key=True)
        .filter(pk=user.pk, is_active=True, epoch=user.epoch)
    )
    if not rows.exists():
        raise CredentialsRefused


@transaction.atomic
def set_active(
    user_id: UUID, active: bool, *, actor: Actor, now: datetime, limit: frozenset[str] | None = None
) -> None:
    """Enable an account, or disable it and sign it out; a closed one then stays closed.

    Raises LastAdmin, BeyondYourRights.
    """
    if not active:
        keep_an_admin(user_id)
    user = User.objects.get_queryset().select_for_update(no_key=True).get(pk=user_id)
    within(user.permission_codes(), limit)
    User.objects.filter(pk=user_id).update(is_active=active, version=F("version") + 1)
    record("user.enabled" if active else "user.disabled", actor=actor, subject=_subject(user_id))
    if not active:
        close_all_sessions(user_id, now=now, actor=actor)


@transaction.atomic
def change_account(
    user_id: UUID,
    changes: dict[str, Any],
    *,
    actor: Actor,
    now: datetime,
    if_match: IfMatch = ANY_VERSION,
    limit: frozenset[str] | None = None,
) -> None:
    """What staff may change: name, age, whether it is active, roles (names or rows). Raises LastAdmin,
    PreconditionFailed, BeyondYourRights.
    """
    lock_admins()  # before the user, as everywhere
    own: dict[str, Any] = {name: changes[name] for name in ("name", "age") if name in changes}
    user = change_user(user_id, own, actor=actor, if_match=if_match, limit=limit)
    if changes.get("is_active", user.is_active) != user.is_active:
        set_active(user_id, changes["is_active"], actor=actor, now=now, limit=limit)
    wanted = {str(role) for role in changes.get("roles", user.roles.all())}
    if wanted != {role.name for role in user.roles.all()}:
        set_roles(user_id, wanted, actor=actor, now=now, limit=limit)


def _subject(user_id: UUID) -> Subject:
    return Subject("user", user_id, owner_id=user_id)
