"""Prometheus metrics of backups, read from the rows of the jobs.

The gauges hold times instead of ages, because an age would stand still when nobody computes it.
"""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.db.models import Count
from prometheus_client.core import Metric

from backups import selectors
from backups.models import BackupJob, BackupRun, Check, SiteRestore
from core.observability.store_metrics import gauge, labelled_gauge


def collect() -> Iterator[Metric]:
    """Yield the metric families. Five queries."""
    yield gauge(
        "backup_interval_seconds",
        "Time between scheduled backups (BACKUP_EVERY).",
        settings.BACKUP_EVERY.total_seconds(),
    )
    times = selectors.newest_backup_times()
    for name, description in (("good", "successful backup"), ("proven", "backup proven by a restore")):
        newest = times[name]
        yield gauge(
            f"backup_newest_{name}_timestamp_seconds",
            f"When the newest {description} was taken; 0 without one.",
            newest.timestamp() if newest else 0,
        )
    run = BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-taken_at").first()
    values: dict[str, tuple[str, Any]] = {
        "duration_seconds": ("How long the newest backup took.", run and run.seconds),
        "shipped_bytes": ("Bytes that the newest backup sent to the store.", run and run.shipped_bytes),
        "stored_bytes": (
            "Bytes in the store of the newest backup and the runs that it builds on.",
            run and run.stored_bytes,
        ),
        "rows": ("Rows in the newest backup.", run and run.rows),
        "lock_wait_seconds": ("How long the newest backup waited for locks.", run and run.waited_seconds),
    }
    for name, (description, value) in values.items():
        yield gauge(f"backup_{name}", description, value)
    yield labelled_gauge(
        "backup_failed_jobs", "Failed backups, checks and site restores.", ["kind"], _failures()
    )


def _failures() -> Iterator[tuple[list[str], float]]:
    """Yield the number of failed jobs of each kind: backup, verify, drill, scrub, site_restore."""
    yield ["backup"], BackupRun.objects.filter(status=BackupJob.Status.FAILED).count()
    failed = Check.objects.filter(status=BackupJob.Status.FAILED).order_by("kind")
    counts = dict(failed.values_list("kind").annotate(Count("pk")))
    for kind in Check.Kind.values:
        yield [kind], counts.get(kind, 0)
    yield ["site_restore"], SiteRestore.objects.filter(status=BackupJob.Status.FAILED).count()
