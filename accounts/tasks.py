from celery import shared_task
from django.utils import timezone


@shared_task
def mirror_revocations() -> None:
    """Write the tombstones that Redis did not take at once."""
    from accounts import revocation

    revocation.sweep(now=timezone.now())
