from datetime import timedelta

from celery import shared_task
from django.utils import timezone


@shared_task
def seal() -> None:
    """Give new entries their place in the chain, and turn settled refusals into entries."""
    from audit import refusal_counters
    from audit.chain import sealing
    from core.observability import metrics

    refusal_counters.flush(now=timezone.now())
    while sealing.seal_pending() == sealing.BATCH:
        pass
    metrics.audit_oldest_pending.set(sealing.oldest_pending(now=timezone.now()))


@shared_task
def checkpoint() -> None:
    """Sign the newest seal, and store what the object store does not have."""
    from audit.chain import checkpoints
    from core.jobs import periodic

    now = timezone.now()
    if periodic.claim_slot("audit_checkpoint", every=timedelta(hours=1), now=now):
        checkpoints.make_checkpoint(now=now)
    checkpoints.store_checkpoints(now=now)


@shared_task
def keep() -> None:
    """Make the months ahead, and forget log lines after 30 days."""
    from audit import server_log, services

    services.make_partitions()
    server_log.delete_expired(before=timezone.now() - timedelta(days=30))
