"""Periodic tasks of analytics. All of them may run twice at once, and may be killed at any time."""

from datetime import datetime

from core.jobs.periodic import periodic_task


@periodic_task()
def write_events(now: datetime) -> None:
    """Write the events of all streams to PostgreSQL.

    Several workers share the shards. An error in one shard is raised after the other shards are written.
    """
    from analytics.ingest import stream, writer

    errors = []
    for shard in range(stream.SHARDS):
        try:
            writer.drain_shard(shard)
        except Exception as error:  # noqa: BLE001 - raised below
            errors.append(error)
    if errors:
        raise errors[0]


@periodic_task()
def rebuild_dirty_days(now: datetime) -> None:
    """Recompute the roll-ups of days whose events changed."""
    from analytics.reports import rollups

    rollups.rebuild_dirty_days()


@periodic_task()
def run_maintenance(now: datetime) -> None:
    """Create the next partitions, delete expired salts, and save the counts of dropped events."""
    from analytics import maintenance

    maintenance.run_maintenance(now=now)


@periodic_task()
def delete_expired_events(now: datetime) -> None:
    """Delete events that are older than their retention."""
    from analytics import maintenance

    maintenance.delete_expired_events(now=now)


@periodic_task()
def send_weekly_mails(now: datetime) -> None:
    """Enqueue the mails about the week before, for sites where it is Monday morning."""
    from analytics.sharing import weekly_mail

    weekly_mail.send_due_mails(now=now)
