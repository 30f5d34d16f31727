"""Prometheus metrics that are read from the stores, and from the file system."""

import shutil

import pytest
from django.conf import settings
from django.db import connection

from core.observability import capacity_metrics, store_metrics
from core.storage import redis

pytestmark = pytest.mark.django_db


@pytest.fixture
def closed_breaker():
    """Close the circuit breaker of Redis after the test."""
    yield
    redis.close_breaker()


def samples_of(families):
    """Return the value of each sample by its name and the values of its labels."""
    return {
        (sample.name.removeprefix("getyousite_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_periodic_task_has_its_period_also_while_redis_does_not_answer(closed_breaker):
    redis._breaker.open()

    samples = samples_of(store_metrics._collect_all())

    periods = {key[1]: value for key, value in samples.items() if key[0] == "periodic_period_seconds"}
    assert periods == {name: task["seconds"] for name, task in settings.PERIODIC_TASKS.items()}
    assert (samples["store_up", "redis"], samples["store_up", "postgresql"]) == (0, 1)


def test_job_families_have_the_retrying_rows_of_every_kind():
    samples = samples_of(store_metrics._job_families())

    ages = {key[1] for key in samples if key[0] == "job_oldest_due_seconds"}
    retrying = {key[1]: value for key, value in samples.items() if key[0] == "job_retrying_rows"}
    assert retrying == dict.fromkeys(ages, 0)


def test_capacity_metrics_have_the_free_space_of_var_dir_and_the_size_of_the_database():
    path = str(settings.VAR_DIR)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        database_size = cursor.fetchone()[0]

    disk = samples_of(capacity_metrics.collect_disk())
    database = samples_of(capacity_metrics.collect_database())

    usage = shutil.disk_usage(path)
    assert disk["disk_size_bytes", path] == usage.total
    assert abs(disk["disk_free_bytes", path] - usage.free) < 0.001 * usage.total
    assert abs(database["database_size_bytes",] - database_size) < 0.5 * database_size
