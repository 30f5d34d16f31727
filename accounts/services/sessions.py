"""Sessions of signed-in devices: opening, rotating refresh tokens, ending."""

from datetime import datetime
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
    """Create a session for a user who has just authenticated by `method`.

    Mails the owner when the device is new, unless `quietly`. Raises CredentialsRefused when the password, the
    epoch or the state of the account changed after `user` was loaded, for example by a password reset while
    the old password was being hashed.
    """
    rows = User.objects.alive().select_for_update(no_key=True).filter(pk=user.pk, is_active=True)
    if not rows.filter(password=user.password, epoch=user.epoch).exists():
        raise CredentialsRefused
    is_new_device = (
        not quietly and not known_devices.find_device_nonce(user, device) and user.sessions.exists()
    )
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
    if is_new_device:
        mail_device_notice("new_device", user, device=device, now=now)
    return session


def mail_device_notice(template: str, user: User, *, device: Device, now: datetime) -> None:
    """Mail the owner of an account about an event on a device."""
    mail.enqueue_mail(
        user.email,
        template,
        person=user.pk,
        time=f"{now:%Y-%m-%d %H:%M} UTC",
        device=describe_user_agent(device.agent),
        network=device.network,
    )


def describe_user_agent(agent: str) -> str:
    """Return browser and operating system of a User-Agent header, such as `Firefox on Windows`."""
    from ua_parser import parse

    result = parse(agent)
    browser = result.user_agent.family if result.user_agent else "An unknown program"
    return f"{browser} on {result.os.family}" if result.os else browser


def rotate_session(token: str, *, now: datetime) -> tuple[Session, str]:
    """Exchange a refresh token for its session and the next refresh token.

    One conditional UPDATE decides which of several parallel callers rotates. The previous token gives the
    same successor for `REFRESH_GRACE` (a lost response, a second tab). Any later use of an old token ends the
    session, because the token may have been stolen (RFC 9700, section 4.14.2). Raises RefreshRefused.
    """
    parsed = parse_refresh_token(token)
    if parsed is None:
        raise RefreshRefused
    pk, generation = parsed
    live_sessions = Session.objects.live(now=now).filter(user__is_active=True, user__deleted_at=None)
    rotated = live_sessions.filter(pk=pk, generation=generation).update(
        generation=generation + 1, rotated_at=now, idle_at=now + settings.SESSION_IDLE
    )
    session = live_sessions.select_related("user", "impersonator").filter(pk=pk).first()
    if session is None or not impersonation_still_permitted(session):
        raise RefreshRefused
    within_grace = session.generation == generation + 1 and now - session.rotated_at <= settings.REFRESH_GRACE
    if not rotated and not within_grace:
        _end_replayed_session(session, generation, now=now)
        raise RefreshRefused
    if rotated:
        with actors.request_origin(impersonator_id=session.impersonator_id):
            record(
                "session.refreshed",
                actor=actors.user(session.user),
                subject=session,
                generation=generation + 1,
            )
    return session, make_refresh_token(session.pk, generation + 1)


def impersonation_still_permitted(session: Session) -> bool:
    """Return whether a session is not an impersonation, or its impersonator may continue it.

    Impersonation needs USERS_IMPERSONATE and a user without any permission. Runs two queries for an
    impersonation and none otherwise.
    """
    staff = session.impersonator
    if staff is None:
        return True
    staff_permitted = staff.deleted_at is None and staff.may(USERS_IMPERSONATE)
    return staff_permitted and session.user.is_active and not session.user.permission_codes()


@transaction.atomic  # committed before rotate_session raises RefreshRefused
def _end_replayed_session(session: Session, generation: int, *, now: datetime) -> None:
    log.warning("refresh_token_replayed", session=str(session.pk), user=str(session.user_id))
    revocation.revoke_sessions(session.user_id, now=now, session_ids=[session.pk])
    with actors.request_origin(impersonator_id=session.impersonator_id):
        record("session.reuse_detected", actor=ANONYMOUS, subject=session, generation=generation)
    device = Device(session.agent, session.network)
    mail_device_notice("session_reused", session.user, device=device, now=now)


def close_session(token: str, *, now: datetime) -> None:
    """End the session of a refresh token. Does nothing for an invalid token or an ended session."""
    parsed = parse_refresh_token(token)
    if parsed is None:
        return
    pk, _ = parsed
    for session in Session.objects.filter(pk=pk).select_related("user"):
        with actors.request_origin(impersonator_id=session.impersonator_id):
            end_sessions(session.user_id, [session.pk], now=now, actor=actors.user(session.user))


@transaction.atomic
def close_all_sessions(user_id: UUID, *, now: datetime, actor: Actor) -> int:
    """End all sessions and access tokens of a user. Returns how many sessions ended."""
    revocation.raise_epoch(user_id, now=now)
    count = len(revocation.revoke_sessions(user_id, now=now))
    record("sessions.ended", actor=actor, subject=Subject("user", user_id, owner_id=user_id), count=count)
    return count


def close_other_sessions(user_id: UUID, *, keep: UUID, actor: Actor, now: datetime) -> list[UUID]:
    """End all sessions of a user but the one with the id `keep`. Returns the ids of those that ended."""
    others = Session.objects.live(now=now).filter(user_id=user_id).exclude(pk=keep)
    return end_sessions(user_id, list(others.values_list("pk", flat=True)), actor=actor, now=now)


@transaction.atomic
def end_sessions(user_id: UUID, session_ids: list[UUID], *, actor: Actor, now: datetime) -> list[UUID]:
    """End these sessions of a user. Returns the ids of those that were live."""
    ended = revocation.revoke_sessions(user_id, now=now, session_ids=session_ids)
    for pk in ended:
        record("session.ended", actor=actor, subject=Subject("session", pk, owner_id=user_id))
    return ended
