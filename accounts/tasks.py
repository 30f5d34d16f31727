from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core import jobs


@shared_task
def mirror_revocations() -> None:
    """Write the tombstones that Redis did not take at once."""
    from accounts import revocation

    revocation.sweep(now=timezone.now())


@shared_task
def mail_proofs() -> None:
    """Mail the links that were asked for."""
    from accounts import services

    services.mail_proofs(now=timezone.now())


@shared_task
def forget_proofs() -> None:
    """Delete links and challenges that nobody can use any more."""
    from accounts import services

    now = timezone.now()
    if jobs.claim_slot("forget_proofs", every=timedelta(hours=1), now=now):
        services.forget_proofs(now=now)


@shared_task
def make_exports() -> None:
    """Make the archives of personal data that were asked for."""
    from accounts import services

    services.make_exports(now=timezone.now())


@shared_task
def forget_exports() -> None:
    """Delete archives whose link has ended."""
    from accounts import services

    now = timezone.now()
    if jobs.claim_slot("forget_exports", every=timedelta(hours=1), now=now):
        services.forget_exports(now=now)
