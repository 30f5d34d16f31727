"""Periodic tasks of the audit trail."""

from datetime import datetime, timedelta

from core.jobs.periodic import periodic_task

LOG_RETENTION = timedelta(days=30)


@periodic_task()
def seal_pending(now: datetime) -> None:
    """Write counted refusals as entries, then seal every pending entry."""
    from audit import refusal_counters
    from audit.chain import sealing

    refusal_counters.record_counted_refusals(now=now)
    while sealing.seal_pending() == sealing.SEAL_BATCH_ROWS:
        pass


@periodic_task()
def sign_checkpoint(now: datetime) -> None:
    """Sign the newest seal."""
    from audit.chain import checkpoints

    checkpoints.create_checkpoint(now=now)
    checkpoints.store_checkpoints(now=now)


@periodic_task()
def store_checkpoints(now: datetime) -> None:
    """Store the checkpoints that the object store does not have yet."""
    from audit.chain import checkpoints

    checkpoints.store_checkpoints(now=now)


@periodic_task()
def create_partitions_and_delete_old_logs(now: datetime) -> None:
    """Create the missing monthly partitions, and delete log lines after 30 days."""
    from audit import server_log, services

    services.create_partitions()
    server_log.delete_log_lines(before=now - LOG_RETENTION)
