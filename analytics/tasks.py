"""The writers and the keeping of house, for Celery. All are safe to run twice, and to be killed."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from core.jobs import periodic


@shared_task
def write_events() -> None:
    """Whatever waits in the streams.

    Each writer takes the shards that no other has; what is wrong with one is told after the others.
    """
    from analytics.ingest import stream, writer

    faults = []
    for shard in range(stream.SHARDS):
        try:
            writer.drain(shard)
        except Exception as fault:  # noqa: BLE001 - raised below
            faults.append(fault)
    if faults:
        raise faults[0]


@shared_task
def recount() -> None:
    from analytics.reports import rollups

    rollups.recount()


@shared_task
def keep_house() -> None:
    """Make partitions ahead, forget salts, copy the counters of drops."""
    from analytics import maintenance

    now = timezone.now()
    if periodic.claim_slot("analytics_upkeep", every=timedelta(minutes=1), now=now):
        maintenance.run_maintenance(now=now)


@shared_task
def forget_events() -> None:
    """Drop what is older than it may be."""
    from analytics import maintenance

    now = timezone.now()
    if periodic.claim_slot("analytics_forget", every=timedelta(days=1), now=now):
        maintenance.delete_expired_events(now=now)


@shared_task
def mail_week() -> None:
    """Mails about the week before, wherever it is Monday morning."""
    from analytics.sharing import links

    links.mail_week(now=timezone.now())
