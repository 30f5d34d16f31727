"""Staff acting as a customer for half an hour, with every action recorded and no access to credentials.

The session belongs to the customer and names its impersonator. So do its access tokens (claim `act`, RFC 8693
section 4.1) and every audit entry.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.credentials.known_devices import Device
from accounts.errors import LinkRefused, PermissionsExceeded
from accounts.models import Session, User
from accounts.permissions import USERS_IMPERSONATE
from accounts.services.sessions import impersonation_still_permitted
from audit import actors
from audit.services import record
from core import encryption
from core.jobs import mail

IMPERSONATION_LIFETIME = timedelta(minutes=30)
LINK_LIFETIME = timedelta(minutes=2)
LINK_PURPOSE = "impersonation"
# The owner has not authenticated in this session, so actions that need a recent proof stay closed.
NEVER_PROVED_AT = datetime(2000, 1, 1, tzinfo=UTC)


@transaction.atomic
def begin_impersonation(user_id: UUID, *, staff: User, reason: str, now: datetime) -> str:
    """Create a session and return a link that opens it once, within LINK_LIFETIME. Mails the owner.

    Raises PermissionsExceeded when `staff` lacks USERS_IMPERSONATE or the user holds any permission.
    """
    user = User.objects.alive().select_for_update(no_key=True).get(pk=user_id, is_active=True)
    if not staff.may(USERS_IMPERSONATE) or user.permission_codes():
        raise PermissionsExceeded
    session = Session.objects.create(
        user=user,
        impersonator=staff,
        generation=0,
        proved_at=NEVER_PROVED_AT,
        rotated_at=now,
        idle_at=now + IMPERSONATION_LIFETIME,
        expires_at=now + IMPERSONATION_LIFETIME,
    )
    record("impersonation.begun", actor=actors.staff(staff), subject=session, personal={"reason": reason})
    end = f"{session.expires_at:%Y-%m-%d %H:%M} UTC"
    mail.enqueue_mail(user.email, "impersonated", person=user.pk, reason=reason, end=end)
    return f"{settings.FRONT_END_URL}/impersonate#{encryption.make_token(LINK_PURPOSE, session.pk)}"


@transaction.atomic
def redeem_impersonation_link(token: str, *, device: Device, now: datetime) -> Session:
    """Open the session of an impersonation link on this device. One conditional UPDATE makes it single-use.

    Raises LinkRefused, also when the impersonator has lost the permission.
    """
    if (pk := encryption.verify_token(LINK_PURPOSE, token)) is None:
        raise LinkRefused
    unopened = Session.objects.live(now=now).filter(pk=pk, generation=0, created_at__gt=now - LINK_LIFETIME)
    if not unopened.update(generation=1, rotated_at=now, agent=device.agent, network=device.network):
        raise LinkRefused
    session = Session.objects.select_related("user", "impersonator").get(pk=pk)
    if not impersonation_still_permitted(session):
        raise LinkRefused
    record("impersonation.opened", actor=actors.staff(session.impersonator), subject=session)
    return session
