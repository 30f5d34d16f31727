"""Forgetting a person: what they own goes, and what is personal of them in the trail.

The chain stays verifiable.
"""

from datetime import datetime
from uuid import UUID

import structlog
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import ProtectedError

from accounts.models import DataExport, EmailProof, User
from accounts.services.data_exports import drop_parts
from accounts.services.users import delete_user
from audit.actors import SYSTEM, Actor
from audit.selectors import values_about
from audit.services import erase_personal, record
from audit.subjects import Subject
from core import lifecycle
from core.http.preconditions import ANY_VERSION
from core.models import Mail, StoredAnswer

log = structlog.get_logger(__name__)


def purge_users(before: datetime) -> int:
    """Erase everybody whose account was closed before then; return how many."""
    gone = 0
    for user in User.objects.deleted().filter(deleted_at__lt=before):
        try:
            gone += bool(erase_user(user, actor=SYSTEM))
        except ProtectedError:  # something of theirs is still there: no reason to keep the others
            log.warning("purge_waits", user=str(user.pk))
    return gone


@transaction.atomic
def close_and_erase(email: str, *, actor: Actor, now: datetime) -> dict[str, int]:
    """Erase whoever has this address, at once and for good; what was how many.

    Where there is no account, what is left of the address goes. Raises LastAdmin.
    """
    user = User.objects.get_queryset().filter(email=email).first()
    if user is None:
        return lifecycle.erase_personal_data(None, frozenset({email}))
    return erase_person(user.pk, actor=actor, now=now)


@transaction.atomic
def erase_person(pk: UUID, *, actor: Actor, now: datetime) -> dict[str, int]:
    """Erase somebody by id, closing the account first; nothing where there is none.

    For who came back with a restore. Raises LastAdmin.
    """
    user = User.objects.get_queryset().filter(pk=pk).first()
    if user is None:
        return {}
    if user.deleted_at is None:
        user = delete_user(user.pk, actor=actor, now=now, if_match=ANY_VERSION)
    return erase_user(user, actor=actor)


@transaction.atomic
def erase_user(user: User, *, actor: Actor) -> dict[str, int]:
    """Everything personal of a closed account; nothing when it was opened again meanwhile.

    The person is locked before what they own, as everywhere. Raises ProtectedError when an app has left
    something.
    """
    closed = User.objects.deleted().select_for_update().filter(pk=user.pk, deleted_at=user.deleted_at)
    if not closed.exists():
        return {}
    record("user.purged", actor=actor, subject=Subject("user", user.pk, owner_id=user.pk))
    return lifecycle.erase_personal_data(user.pk, _addresses(user))


def _addresses(user: User) -> frozenset[str]:
    """Addresses that were the user's and are nobody else's now."""
    former = values_about(user.pk, event="user.email_changed", fields=("email_before", "email_after"))
    others = (
        User.objects.get_queryset()
        .filter(email__in=former)
        .exclude(pk=user.pk)
        .values_list("email", flat=True)
    )
    return frozenset({user.email, *former} - set(others))


def erase_account(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """The part of accounts in erasing a person: last, because others refer to them."""
    exports = list(DataExport.objects.filter(user_id=person).values_list("pk", flat=True)) if person else []
    transaction.on_commit(lambda: drop_parts(exports), robust=True)
    gone = {
        "audit_values": erase_personal(owner_id=person, values=sorted(addresses)),
        "mails": Mail.objects.filter(person=person).delete()[0] if person else 0,
        "mailed_links": EmailProof.objects.filter(email__in=addresses).delete()[0],
        "exports": len(exports),
    }
    gone["mails"] += Mail.objects.filter(to__in=addresses).delete()[0]
    gone["mails"] += _withdraw_mails(addresses)
    if person:
        StoredAnswer.objects.filter(principal=person).delete()
        LogEntry.objects.filter(object_id=str(person)).delete()
        gone["accounts"] = User.objects.get_queryset().filter(pk=person).delete()[1].get("accounts.User", 0)
    return gone


def _withdraw_mails(addresses: frozenset[str]) -> int:
    """Delete mails to others that would still tell one of these addresses.

    What was sent has forgotten what it said.
    """
    unsent = Mail.objects.exclude(state=Mail.State.DONE)
    telling = [
        mail.pk for mail in unsent.iterator() if any(address in mail.facts.lower() for address in addresses)
    ]
    return Mail.objects.filter(pk__in=telling).delete()[0]
