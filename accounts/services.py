"""Every write of accounts that carries a rule."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import IntegrityError, transaction
from django.db.models import F, ProtectedError
from django.utils import timezone

from accounts import revocation
from accounts.errors import CredentialsRefused, EmailTaken, LastAdmin, RefreshRefused
from accounts.models import Role, Session, User, normalise_email
from accounts.tokens import read_refresh, refresh_token
from audit import actors
from audit.actors import ANONYMOUS, SYSTEM, Actor
from audit.services import Subject, erase_personal, record
from core import lifecycle
from core.permissions import all_permissions
from core.preconditions import IfMatch

# A hash of nothing, at the declared cost: somebody unknown costs what somebody known does.
NOBODY = "argon2$argon2id$v=19$m=65536,t=3,p=4$Z2V0eW91c2l0ZS1ub2JvZHk$0Zb1o8SVZDQfT0VvB6qNCYzkBDHVcKXnrbnXKUtPkVg"
ADMIN, USER = "admin", "user"
BUILT_IN: dict[str, list[str] | None] = {ADMIN: None, USER: []}  # None: every permission

ANY = IfMatch(None)  # staff act on what they see, whatever its version

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    """Where somebody signs in from: user agent (cut to 200 characters) and network, never the full address."""

    agent: str = ""
    network: str = ""


def register_user(
    *, email: str, password: str, name: str = "", age: int | None = None, role: str = USER, actor: Actor | None = None
) -> User:
    """A new account, made by its owner when no `actor` is given. Raises EmailTaken, also when two try at once.

    The password must have been checked.
    """
    encoded = make_password(password)
    try:
        with transaction.atomic():
            user = User.objects.create(email=normalise_email(email), password=encoded, name=name, age=age)
            user.roles.add(Role.objects.get(name=role))
            record("user.registered", actor=actor or actors.user(user), subject=user, roles=[role])
    except IntegrityError:
        raise EmailTaken from None
    return user


def check_credentials(email: str, password: str) -> User:
    """The user these belong to. Raises CredentialsRefused; hashes exactly once whoever asks."""
    user = User.objects.alive().filter(email=normalise_email(email), is_active=True).first()
    encoded = user.password if user else NOBODY
    if not check_password(password, encoded) or user is None:
        record(
            "sign_in.failed",
            actor=ANONYMOUS,
            subject=user or Subject("user"),
            personal={"tried": normalise_email(email)},
        )
        raise CredentialsRefused
    return user


@transaction.atomic
def open_session(user: User, *, device: Device, now: datetime) -> Session:
    """A session for a user who has just proved who they are."""
    session = Session.objects.create(
        user=user,
        rotated_at=now,
        idle_at=now + settings.SESSION_IDLE,
        expires_at=now + settings.SESSION_LIFETIME,
        agent=device.agent[:200],
        network=device.network,
    )
    record("session.opened", actor=actors.user(user), subject=session)
    return session


def rotate_session(token: str, *, now: datetime) -> tuple[Session, str]:
    """Exchange a refresh token for the session and its next token. One conditional UPDATE decides among many callers.

    The previous token gives the same successor for `REFRESH_GRACE` (a lost answer, a second tab); any later use of an
    old token ends the session, because somebody else may hold it (RFC 9700, 4.14.2). Raises RefreshRefused.
    """
    read = read_refresh(token)
    if read is None:
        raise RefreshRefused
    pk, generation = read
    usable = Session.objects.live(now=now).filter(user__is_active=True, user__deleted_at=None)
    moved = usable.filter(pk=pk, generation=generation).update(
        generation=generation + 1, rotated_at=now, idle_at=now + settings.SESSION_IDLE
    )
    session = usable.select_related("user").filter(pk=pk).first()
    if session is None:
        raise RefreshRefused
    repeated = session.generation == generation + 1 and now - session.rotated_at <= settings.REFRESH_GRACE
    if not moved and not repeated:
        log.warning("refresh_reused", session=str(pk), user=str(session.user_id))
        with transaction.atomic():  # committed before the refusal is raised
            revocation.revoke_sessions(session.user_id, now=now, session_ids=[pk])
            record("session.reuse_detected", actor=ANONYMOUS, subject=session, generation=generation)
        raise RefreshRefused
    if moved:
        record("session.refreshed", actor=actors.user(session.user), subject=session, generation=generation + 1)
    return session, refresh_token(session.pk, generation + 1)


def close_session(token: str, *, now: datetime) -> None:
    """Sign out the session of a refresh token; a token of no live session is as signed out as can be."""
    read = read_refresh(token)
    if read is not None:
        for session in Session.objects.filter(pk=read[0]).select_related("user"):
            end_sessions(session.user_id, [session.pk], now=now, actor=actors.user(session.user))


@transaction.atomic
def close_all_sessions(user_id: UUID, *, now: datetime, actor: Actor) -> int:
    """Sign out everywhere; return how many sessions ended."""
    revocation.raise_epoch(user_id, now=now)
    ended = len(revocation.revoke_sessions(user_id, now=now))
    record("sessions.ended", actor=actor, subject=_subject(user_id), count=ended)
    return ended


@transaction.atomic
def change_user(user_id: UUID, changes: dict[str, Any], *, actor: Actor, if_match: IfMatch) -> User:
    """Change name or age. Raises PreconditionFailed."""
    user = User.objects.alive().select_for_update().get(pk=user_id)
    if_match.check(user.version)
    told: dict[str, str] = {}
    for name, value in changes.items():
        told |= {f"{name}_before": str(getattr(user, name)), f"{name}_after": str(value)}
        setattr(user, name, value)
    user.version += 1
    user.save(update_fields=[*changes, "version", "updated_at"])
    record("user.changed", actor=actor, subject=user, personal=told, fields=sorted(changes))
    return user


@transaction.atomic
def delete_user(user_id: UUID, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Hide an account with everything it owns, and sign it out. Raises PreconditionFailed, LastAdmin."""
    keep_an_admin(user_id)
    user = User.objects.alive().select_for_update().get(pk=user_id)
    if_match.check(user.version)
    user.deleted_at, user.version = now, user.version + 1
    user.save(update_fields=["deleted_at", "version", "updated_at"])
    record("user.deleted", actor=actor, subject=user)
    lifecycle.hide("person", user_id, moment=now)
    close_all_sessions(user_id, now=now, actor=actor)


@transaction.atomic
def restore_user(user_id: UUID, *, actor: Actor) -> None:
    """Bring back a hidden account with what was hidden with it. The person signs in anew."""
    user = User.objects.deleted().select_for_update().get(pk=user_id)
    assert user.deleted_at is not None
    lifecycle.restore("person", user_id, moment=user.deleted_at)
    User.objects.get_queryset().filter(pk=user_id).update(deleted_at=None, version=F("version") + 1)
    record("user.restored", actor=actor, subject=user)


def purge_users(before: datetime) -> int:
    """Delete accounts hidden before then, and what is personal of them in the trail; return how many.

    What they own must be gone already.
    """
    gone = 0
    for user in User.objects.deleted().filter(deleted_at__lt=before):
        try:
            with transaction.atomic():
                record("user.purged", actor=SYSTEM, subject=_subject(user.pk))
                erase_personal(owner_id=user.pk)
                user.delete()
                gone += 1
        except ProtectedError:  # something of theirs is still there: no reason to keep the others
            log.warning("purge_waits", user=str(user.pk))
    return gone


@transaction.atomic
def set_roles(user_id: UUID, names: set[str], *, actor: Actor, now: datetime) -> None:
    """Give a user exactly these roles, from their next request on. Raises LastAdmin."""
    if ADMIN not in names:
        keep_an_admin(user_id)
    user = User.objects.get(pk=user_id)
    before = sorted(role.name for role in user.roles.all())
    user.roles.set(Role.objects.filter(name__in=names))
    record("user.roles_changed", actor=actor, subject=user, changes={"roles": [before, sorted(names)]})
    User.objects.filter(pk=user_id).update(version=F("version") + 1)
    revocation.raise_epoch(user_id, now=now)


def set_password(user_id: UUID, password: str, *, actor: Actor, now: datetime) -> None:
    """Replace a password and end every session. The password must have been checked."""
    encoded = make_password(password)
    with transaction.atomic():
        User.objects.filter(pk=user_id).update(password=encoded, version=F("version") + 1)
        record("user.password_changed", actor=actor, subject=_subject(user_id))
        close_all_sessions(user_id, now=now, actor=actor)


@transaction.atomic
def end_sessions(user_id: UUID, session_ids: list[UUID], *, actor: Actor, now: datetime) -> list[UUID]:
    """End these sessions of a user; return those that were live."""
    ended = revocation.revoke_sessions(user_id, now=now, session_ids=session_ids)
    for pk in ended:
        record("session.ended", actor=actor, subject=Subject("session", pk, owner_id=user_id))
    return ended


def _subject(user_id: UUID) -> Subject:
    return Subject("user", user_id, owner_id=user_id)


@transaction.atomic
def set_active(user_id: UUID, active: bool, *, actor: Actor, now: datetime) -> None:
    """Enable an account, or disable it and sign it out. Raises LastAdmin."""
    if not active:
        keep_an_admin(user_id)
    User.objects.filter(pk=user_id).update(is_active=active, version=F("version") + 1)
    record("user.enabled" if active else "user.disabled", actor=actor, subject=_subject(user_id))
    if not active:
        close_all_sessions(user_id, now=now, actor=actor)


@transaction.atomic
def change_account(user_id: UUID, changes: dict[str, Any], *, actor: Actor, now: datetime) -> None:
    """What staff may change: name, age, whether it is active, roles (names or rows). Raises LastAdmin."""
    own: dict[str, Any] = {name: changes[name] for name in ("name", "age") if name in changes}
    user = change_user(user_id, own, actor=actor, if_match=ANY)
    if changes.get("is_active", user.is_active) != user.is_active:
        set_active(user_id, changes["is_active"], actor=actor, now=now)
    wanted = {str(role) for role in changes.get("roles", user.roles.all())}
    if wanted != {role.name for role in user.roles.all()}:
        set_roles(user_id, wanted, actor=actor, now=now)


def keep_an_admin(user_id: UUID) -> None:
    """Raise LastAdmin when nobody else could administer; holds off others who ask the same."""
    admins = Role.objects.select_for_update().get(name=ADMIN)
    others = admins.users.filter(deleted_at=None, is_active=True).exclude(pk=user_id)
    if admins.users.filter(pk=user_id).exists() and not others.exists():
        raise LastAdmin


def upsert_roles(**_: Any) -> None:
    """The built-in roles as this version defines them; runs after each migration."""
    for name, codes in BUILT_IN.items():
        wanted = sorted(all_permissions()) if codes is None else codes
        role, created = Role.objects.get_or_create(name=name, defaults={"permissions": wanted, "built_in": True})
        if not created and (role.permissions != wanted or not role.built_in):
            role.permissions, role.built_in, role.version = wanted, True, role.version + 1
            role.save(update_fields=["permissions", "built_in", "version"])
            record("role.changed", actor=SYSTEM, subject=role, permissions=wanted)


def ensure_admin(*, email: str, password: str, name: str = "") -> tuple[User, bool]:
    """The admin with this address, made when missing; True when made. An existing one keeps its password."""
    found = User.objects.alive().filter(email=normalise_email(email)).first()
    if found is None:
        return register_user(email=email, password=password, name=name, role=ADMIN, actor=SYSTEM), True
    if not found.roles.filter(name=ADMIN).exists():
        set_roles(found.pk, {role.name for role in found.roles.all()} | {ADMIN}, actor=SYSTEM, now=timezone.now())
    return found, False
