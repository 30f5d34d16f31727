"""What the one worker of backups does each time it is called: settle, queue what is due, do what waits, keep
house.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.utils import timezone

from backups import metrics, selectors
from backups.engine.errors import Damaged
from backups.models import BackupRun, Check, SiteRestore, Work
from backups.services import erasure_tombstones, retention
from backups.services.checks import SAMPLE, do_check, queue_due_checks, verify_run
from backups.services.runs import REFUSALS, discard, queue_due, reason_of, reconcile, runner, take_run
from backups.services.site_restores import do_restore
from core.jobs import periodic

log = structlog.get_logger(__name__)


def work(*, now: datetime) -> int:
    """Everything that waits, one after the other; how much it was.

    At once nothing where another works already.
    """
    with runner() as mine:
        if not mine:
            return 0
        done = 0
        try:
            reconcile(now=now)
            for queue in (queue_due, queue_due_checks):
                queue(now=now)
                while row := _next():
                    _do(row)
                    done += 1
                    queue_due(now=timezone.now())  # whatever else waits, backups come in time
            _keep_house(now=now)
        except REFUSALS as refusal:
            log.error("backups_cannot_work", reason=reason_of(refusal))
        tell()
        return done


def _next() -> Work | None:
    for kind in (BackupRun, SiteRestore, Check):
        row: Work | None = kind._default_manager.filter(status=Work.Status.QUEUED).order_by("pk").first()
        if row:
            return row
    return None


def _do(row: Work) -> None:
    if isinstance(row, BackupRun):
        run = take_run(row, pace=settings.BACKUP_PACE)
        if run.status == BackupRun.Status.DONE:
            _look_at(run)
    elif isinstance(row, Check):
        do_check(row)
    elif isinstance(row, SiteRestore):
        do_restore(row)


def _look_at(run: BackupRun) -> None:
    """What a run has just written, and a small part of what else it needs, is read at once: one that cannot
    be restored is none.
    """
    try:
        verify_run(run, share=SAMPLE)
    except Damaged as fault:
        discard(run, reason_of(fault), now=timezone.now())


def _keep_house(*, now: datetime) -> None:
    erasure_tombstones.mirror(now=now)
    if periodic.claim_slot("backup_obey", every=timedelta(hours=1), now=now):
        erasure_tombstones.obey(now=now)
    if periodic.claim_slot("backup_prune", every=timedelta(days=1), now=now):
        retention.prune(now=now, dry_run=False)
    if periodic.claim_slot("backup_locks", every=timedelta(days=1), now=now):
        retention.renew_locks(now=now)


def tell() -> None:
    """The gauges."""
    found = selectors.ages()
    metrics.newest_good.set(found["good"].timestamp() if found["good"] else 0)
    metrics.newest_proven.set(found["proven"].timestamp() if found["proven"] else 0)
    run = BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-taken_at").first()
    if run:
        metrics.duration.set(run.seconds)
        metrics.shipped.set(run.shipped_bytes)
        metrics.stored.set(run.stored_bytes)
        metrics.rows.set(run.rows)
        metrics.waited.set(run.waited_seconds)
