"""Prometheus metrics of backups."""

import pytest
from django.utils import timezone

from backups.services import worker
from backups.tests.helpers import execute_backup
from core.observability import metrics

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("backup_folder")]


def test_metrics_have_times_and_sizes_of_the_newest_backup():
    execute_backup()
    worker.run_pending_jobs(now=timezone.now())

    lines = metrics.exposition().decode().splitlines()

    values = dict(
        line.rsplit(" ", 1) for line in lines if line.startswith("getyousite_backup_") and "{" not in line
    )
    newest_good = float(values["getyousite_backup_newest_good_timestamp_seconds"])
    assert timezone.now().timestamp() - newest_good < 600
    assert float(values["getyousite_backup_newest_proven_timestamp_seconds"]) > 0
    assert float(values["getyousite_backup_stored_bytes"]) > 0
