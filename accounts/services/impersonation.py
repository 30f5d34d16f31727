"""Staff acting as a customer: for half an hour, in everybody's sight, and never near credentials.

The session belongs to the customer and names its impersonator; so does each of its tokens (claim `act`, RFC
8693, 4.1), and the trail adds them to every entry.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.credentials.known_devices import Device
from accounts.errors import BeyondYourRights, LinkRefused
from accounts.models import Session, User
from accounts.permissions import USERS_IMPERSONATE
from accounts.services.sessions import still_right
from audit import actors
from audit.services import record
from core import encryption
from core.jobs import mail

PERIOD = timedelta(minutes=30)
FETCH_WITHIN = timedelta(minutes=2)
SIGNATURE = "impersonation"
NEVER = datetime(2000, 1, 1, tzinfo=UTC)  # the owner has proved nothing in this session


@transaction.atomic
def begin_impersonation(user_id: UUID, *, staff: User, reason: str, now: datetime) -> str:
    """A link that opens a session as this user, once, within two minutes. The owner gets a mail.

    Raises BeyondYourRights: without the permission, and for whoever has any rights of their own.
    """
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id, is_active=True)
    if not staff.may(USERS_IMPERSONATE) or user.permission_codes():
        raise BeyondYourRights
    session = Session.objects.create(
        user=user,
        impersonator=staff,
        generation=0,
        proved_at=NEVER,
        rotated_at=now,
        idle_at=now + PERIOD,
        expires_at=now + PERIOD,
    )
    record("impersonation.begun", actor=actors.staff(staff), subject=session, personal={"reason": reason})
    end = f"{session.expires_at:%Y-%m-%d %H:%M} UTC"
    mail.enqueue_mail(user.email, "impersonated", person=user.pk, reason=reason, end=end)
    return f"{settings.FRONT_END_URL}/impersonate#{encryption.make_token(SIGNATURE, session.pk)}"


@transaction.atomic
def fetch_impersonation(token: str, *, device: Device, now: datetime) -> Session:
    """The session behind a link, opened on this device. One conditional UPDATE decides among many callers.

    Raises LinkRefused, also once the impersonator has lost the right to it.
    """
    if (pk := encryption.verify_token(SIGNATURE, token)) is None:
        raise LinkRefused
    waiting = Session.objects.live(now=now).filter(pk=pk, generation=0, created_at__gt=now - FETCH_WITHIN)
    if not waiting.update(generation=1, rotated_at=now, agent=device.agent, network=device.network):
        raise LinkRefused
    session = Session.objects.select_related("user", "impersonator").get(pk=pk)
    if not still_right(session):
        raise LinkRefused
    record("impersonation.opened", actor=actors.staff(session.impersonator), subject=session)
    return session
