"""Periodic tasks. The schedule is in `config/settings.py`."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

LOG_RETENTION = timedelta(days=30)


@shared_task
def seal_pending() -> None:
    """Write counted refusals as entries, then seal every pending entry."""
    from audit import refusal_counters
    from audit.chain import metrics, sealing

    refusal_counters.record_counted_refusals(now=timezone.now())
    while sealing.seal_pending() == sealing.SEAL_BATCH_ROWS:
        pass
    metrics.audit_oldest_pending.set(sealing.oldest_pending_seconds(now=timezone.now()))


@shared_task
def sign_and_store_checkpoints() -> None:
    """Sign the newest seal once an hour, and store the checkpoints that the object store does not have."""
    from audit.chain import checkpoints
    from core.jobs import periodic

    now = timezone.now()
    if periodic.claim_slot("audit_checkpoint", every=timedelta(hours=1), now=now):
        checkpoints.create_checkpoint(now=now)
    checkpoints.store_checkpoints(now=now)


@shared_task
def create_partitions_and_delete_old_logs() -> None:
    """Create the missing monthly partitions, and delete log lines after 30 days."""
    from audit import server_log, services

    services.create_partitions()
    server_log.delete_log_lines(before=timezone.now() - LOG_RETENTION)
