from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core.jobs import periodic


@shared_task
def mirror_revocations() -> None:
    """Write the tombstones that Redis did not take at once."""
    from accounts.credentials import revocation

    revocation.mirror_missing_tombstones(now=timezone.now())


@shared_task
def mail_requested_links() -> None:
    """Mail the links that were asked for."""
    from accounts.services import email_links

    email_links.mail_requested_links(now=timezone.now())


@shared_task
def delete_expired_proofs() -> None:
    """Delete links and challenges that nobody can use any more."""
    from accounts.services import email_links

    now = timezone.now()
    if periodic.claim_slot("forget_proofs", every=timedelta(hours=1), now=now):
        email_links.delete_expired_proofs(now=now)


@shared_task
def make_exports() -> None:
    """Make the archives of personal data that were asked for."""
    from accounts.services import data_exports

    data_exports.make_exports(now=timezone.now())


@shared_task
def delete_expired_exports() -> None:
    """Delete archives whose link has ended."""
    from accounts.services import data_exports

    now = timezone.now()
    if periodic.claim_slot("forget_exports", every=timedelta(hours=1), now=now):
        data_exports.delete_expired_exports(now=now)
