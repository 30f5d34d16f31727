"""Prometheus metrics of backups."""

import pytest
from django.utils import timezone

from backups import metrics
from backups.services import worker
from backups.tests.helpers import execute_backup

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("backup_folder")]


def test_metrics_have_times_and_sizes_of_the_newest_backup():
    execute_backup()
    worker.run_pending_jobs(now=timezone.now())

    samples = [sample for family in metrics.collect() for sample in family.samples]

    values = {sample.name.removeprefix("getyousite_backup_"): sample.value for sample in samples}
    assert timezone.now().timestamp() - values["newest_good_timestamp_seconds"] < 600
    assert values["newest_proven_timestamp_seconds"] > 0
    assert values["stored_bytes"] > 0
    failed = {sample.labels["kind"]: sample.value for sample in samples if "kind" in sample.labels}
    assert failed == {"backup": 0, "verify": 0, "drill": 0, "scrub": 0, "site_restore": 0}
