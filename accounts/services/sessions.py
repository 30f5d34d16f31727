"""Signed-in devices: opened, rotated, ended."""

from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction

from accounts.credentials import known_devices, revocation
from accounts.credentials.known_devices import Device
from accounts.credentials.tokens import make_refresh_token, parse_refresh_token
from accounts.errors import CredentialsRefused, RefreshRefused
from accounts.models import Session, User
from accounts.permissions import USERS_IMPERSONATE
from audit import actors
from audit.actors import ANONYMOUS, Actor
from audit.services import record
from audit.subjects import Subject
from core.jobs import mail

log = structlog.get_logger(__name__)


@transaction.atomic
def open_session(
    user: User, *, device: Device, now: datetime, method: str = "password", quietly: bool = False
) -> Session:
    """A session for a user who has just proved who they are.

    A device that was not theirs before is told by mail, unless `quietly`. Raises CredentialsRefused when what
    was proved has ended meanwhile: a password that was replaced while it was being hashed opens nothing.
    """
    same = User.objects.alive().select_for_update(no_key=True).filter(pk=user.pk, is_active=True)
    if not same.filter(password=user.password, epoch=user.epoch).exists():
        raise CredentialsRefused
    strange = not quietly and not known_devices.find_device_nonce(user, device) and user.sessions.exists()
    session = Session.objects.create(
        user=user,
        rotated_at=now,
        idle_at=now + settings.SESSION_IDLE,
        expires_at=now + settings.SESSION_LIFETIME,
        proved_at=now,
        agent=device.agent[:200],
        network=device.network,
    )
    record("session.opened", actor=actors.user(user), subject=session, method=method)
    if strange:
        mail_device_notice("new_device", user, device=device, now=now)
    return session


def mail_device_notice(template: str, user: User, *, device: Device, now: datetime) -> None:
    """Mail the owner of an account what happened on a device."""
    facts: dict[str, Any] = {"device": describe_user_agent(device.agent), "network": device.network}
    mail.enqueue_mail(user.email, template, person=user.pk, time=f"{now:%Y-%m-%d %H:%M} UTC", **facts)


def describe_user_agent(agent: str) -> str:
    """A user agent for people: `Firefox on Windows`."""
    from ua_parser import parse

    found = parse(agent)
    browser = found.user_agent.family if found.user_agent else "An unknown program"
    return f"{browser} on {found.os.family}" if found.os else browser


def rotate_session(token: str, *, now: datetime) -> tuple[Session, str]:
    """Exchange a refresh token for the session and its next token.

    One conditional UPDATE decides among many callers.

    The previous token gives the same successor for `REFRESH_GRACE` (a lost answer, a second tab); any later
    use of an old token ends the session, because somebody else may hold it (RFC 9700, 4.14.2). Raises
    RefreshRefused.
    """
    read = parse_refresh_token(token)
    if read is None:
        raise RefreshRefused
    pk, generation = read
    usable = Session.objects.live(now=now).filter(user__is_active=True, user__deleted_at=None)
    moved = usable.filter(pk=pk, generation=generation).update(
        generation=generation + 1, rotated_at=now, idle_at=now + settings.SESSION_IDLE
    )
    session = usable.select_related("user", "impersonator").filter(pk=pk).first()
    if session is None or not impersonation_still_permitted(session):
        raise RefreshRefused
    repeated = session.generation == generation + 1 and now - session.rotated_at <= settings.REFRESH_GRACE
    if not moved and not repeated:
        _end_replayed_session(session, generation, now=now)
        raise RefreshRefused
    if moved:
        with actors.request_origin(impersonator_id=session.impersonator_id):
            record(
                "session.refreshed",
                actor=actors.user(session.user),
                subject=session,
                generation=generation + 1,
            )
    return session, make_refresh_token(session.pk, generation + 1)


def impersonation_still_permitted(session: Session) -> bool:
    """Whether a session is its owner's, or staff may go on acting as somebody who has no rights.

    Two queries for staff.
    """
    staff = session.impersonator
    if staff is None:
        return True
    able = staff.deleted_at is None and staff.may(USERS_IMPERSONATE)
    return able and session.user.is_active and not session.user.permission_codes()


@transaction.atomic  # committed before the refusal is raised
def _end_replayed_session(session: Session, generation: int, *, now: datetime) -> None:
    log.warning("refresh_reused", session=str(session.pk), user=str(session.user_id))
    revocation.revoke_sessions(session.user_id, now=now, session_ids=[session.pk])
    with actors.request_origin(impersonator_id=session.impersonator_id):
        record("session.reuse_detected", actor=ANONYMOUS, subject=session, generation=generation)
    mail_device_notice("session_reused", session.user, device=Device(session.agent, session.network), now=now)


def close_session(token: str, *, now: datetime) -> None:
    """Sign out the session of a refresh token; a token of no live session is as signed out as can be."""
    read = parse_refresh_token(token)
    if read is not None:
        for session in Session.objects.filter(pk=read[0]).select_related("user"):
            with actors.request_origin(impersonator_id=session.impersonator_id):
                end_sessions(session.user_id, [session.pk], now=now, actor=actors.user(session.user))


@transaction.atomic
def close_all_sessions(user_id: UUID, *, now: datetime, actor: Actor) -> int:
    """Sign out everywhere; return how many sessions ended."""
    revocation.raise_epoch(user_id, now=now)
    ended = len(revocation.revoke_sessions(user_id, now=now))
    record("sessions.ended", actor=actor, subject=Subject("user", user_id, owner_id=user_id), count=ended)
    return ended


def close_other_sessions(user_id: UUID, *, keep: UUID, actor: Actor, now: datetime) -> list[UUID]:
    """Sign out everywhere else; return the sessions that ended."""
    others = Session.objects.live(now=now).filter(user_id=user_id).exclude(pk=keep)
    return end_sessions(user_id, list(others.values_list("pk", flat=True)), actor=actor, now=now)


@transaction.atomic
def end_sessions(user_id: UUID, session_ids: list[UUID], *, actor: Actor, now: datetime) -> list[UUID]:
    """End these sessions of a user; return those that were live."""
    ended = revocation.revoke_sessions(user_id, now=now, session_ids=session_ids)
    for pk in ended:
        record("session.ended", actor=actor, subject=Subject("session", pk, owner_id=user_id))
    return ended
