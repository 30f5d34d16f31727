"""Erasure of a person: deletes what they own and the personal values in the audit log.

The hash chain of the audit log stays verifiable.
"""

from datetime import datetime
from functools import partial
from uuid import UUID

import structlog
from django.contrib.admin.models import LogEntry
from django.db import transaction
from django.db.models import ProtectedError

from accounts.models import DataExport, EmailProof, User
from accounts.services.export_parts import delete_stored_parts
from accounts.services.users import delete_user
from audit.actors import SYSTEM, Actor
from audit.selectors import find_personal_values
from audit.services import erase_personal_values, record
from audit.subjects import Subject
from core import lifecycle
from core.http.preconditions import ANY_VERSION
from core.models import IdempotentResponse, Mail

log = structlog.get_logger(__name__)


def purge_users(before: datetime) -> int:
    """Erase all accounts that were soft-deleted before `before`. Returns how many.

    Called 30 days after the deletion (`core.lifecycle`).
    """
    count = 0
    for user in User.objects.deleted().filter(deleted_at__lt=before):
        try:
            count += bool(erase_user(user, actor=SYSTEM))
        except ProtectedError:  # another app still has rows of this user; erase the others anyway
            log.warning("user_purge_postponed", user=str(user.pk))
    return count


@transaction.atomic
def close_and_erase(email: str, *, actor: Actor, now: datetime) -> dict[str, int]:
    """Erase the account with this address. Without an account, erase everything else that contains it.

    Returns how many rows of each kind were erased. Raises LastAdmin.
    """
    user = User.objects.get_queryset().filter(email=email).first()
    if user is None:
        return lifecycle.erase_personal_data(None, frozenset({email}))
    return erase_person(user.pk, actor=actor, now=now)


@transaction.atomic
def erase_person(pk: UUID, *, actor: Actor, now: datetime) -> dict[str, int]:
    """Erase a user for good, and close the account first if it is open. Raises LastAdmin.

    Returns the number of deleted rows by name; empty for an unknown id. Used after a restore, for users who
    were erased after the backup was taken.
    """
    user = User.objects.get_queryset().filter(pk=pk).first()
    if user is None:
        return {}
    if user.deleted_at is None:
        user = delete_user(user.pk, actor=actor, now=now, if_match=ANY_VERSION)
    return erase_user(user, actor=actor)


@transaction.atomic
def erase_user(user: User, *, actor: Actor) -> dict[str, int]:
    """Erase a soft-deleted user. Returns counts by kind, empty when the account was restored meanwhile.

    The user's row is locked before the rows they own, as everywhere. Raises ProtectedError when another app
    still has rows that refer to the user.
    """
    closed = User.objects.deleted().select_for_update().filter(pk=user.pk, deleted_at=user.deleted_at)
    if not closed.exists():
        return {}
    record("user.purged", actor=actor, subject=Subject("user", user.pk, owner_id=user.pk))
    return lifecycle.erase_personal_data(user.pk, _former_and_current_addresses(user))


def _former_and_current_addresses(user: User) -> frozenset[str]:
    """Return all addresses the user has had, without those that another account has now."""
    former = find_personal_values(user.pk, event="user.email_changed", fields=("email_before", "email_after"))
    others = (
        User.objects.get_queryset()
        .filter(email__in=former)
        .exclude(pk=user.pk)
        .values_list("email", flat=True)
    )
    return frozenset({user.email, *former} - set(others))


def erase_account_data(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Erase what this app has of a person. Returns counts by kind.

    Callback for `core.lifecycle.on_erase`. It runs after those of other apps, whose rows refer to the user.
    """
    exports = list(DataExport.objects.filter(user_id=person).values_list("pk", flat=True)) if person else []
    for pk in exports:
        transaction.on_commit(partial(delete_stored_parts, pk), robust=True)
    counts = {
        "audit_values": erase_personal_values(owner_id=person, values=sorted(addresses)),
        "mails": Mail.objects.filter(person=person).delete()[0] if person else 0,
        "mailed_links": EmailProof.objects.filter(email__in=addresses).delete()[0],
        "exports": len(exports),
    }
    counts["mails"] += Mail.objects.filter(to__in=addresses).delete()[0]
    counts["mails"] += _delete_unsent_mails_mentioning(addresses)
    if person:
        IdempotentResponse.objects.filter(principal=person).delete()
        LogEntry.objects.filter(object_id=str(person)).delete()
        _, deleted_by_model = User.objects.get_queryset().filter(pk=person).delete()
        counts["accounts"] = deleted_by_model.get("accounts.User", 0)
    return counts


def _delete_unsent_mails_mentioning(addresses: frozenset[str]) -> int:
    """Delete unsent mails to other people that contain one of these addresses. Returns how many.

    Sent mails need no search: their content is deleted when they are sent.
    """
    unsent = Mail.objects.exclude(status=Mail.Status.DONE)
    mentioning = [
        mail.pk for mail in unsent.iterator() if any(address in mail.context.lower() for address in addresses)
    ]
    return Mail.objects.filter(pk__in=mentioning).delete()[0]
