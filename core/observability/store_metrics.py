"""Metrics that the web process reads from PostgreSQL and Redis, so that a dead worker cannot hide itself.

Apps register functions that yield metric families. They run in a thread, at most once in `LIFETIME_SECONDS`,
and an answer of `/metrics` waits for them no longer than `WAIT_SECONDS`.
"""

import time
from collections.abc import Callable, Iterable, Iterator

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core.jobs import broker, heartbeats, queue
from core.models import Job
from core.observability.background_value import BackgroundValue
from core.storage import redis

LIFETIME_SECONDS = 5.0
WAIT_SECONDS = 3.0
Collect = Callable[[], Iterable[Metric]]

log = structlog.get_logger(__name__)
_collectors: list[Collect] = []


def register(collect: Collect) -> None:
    """Add the metrics of an app.

    `collect` runs in a thread, without a tenancy context. For `AppConfig.ready()`.
    """
    _collectors.append(collect)


def exposition() -> bytes:
    """Return the metrics from the stores in the Prometheus text format.

    While a store hangs, `getyousite_store_up` is the only one.
    """
    families = _families.get(deadline=time.monotonic() + WAIT_SECONDS)
    return _format(families if families is not None else [_store_up(postgresql=False, redis_answers=False)])


def gauge(name: str, description: str, value: float | None) -> Metric:
    """Return a metric without labels. Without a value it has no sample."""
    family = GaugeMetricFamily(f"getyousite_{name}", description)
    if value is not None:
        family.add_metric([], value)
    return family


def labelled_gauge(
    name: str, description: str, labels: list[str], values: Iterable[tuple[Iterable[str], float]]
) -> Metric:
    """Return a metric with one sample for each tuple of label values."""
    family = GaugeMetricFamily(f"getyousite_{name}", description, labels=labels)
    for label_values, value in values:
        family.add_metric(list(label_values), value)
    return family


def _collect_all() -> list[Metric]:
    families: list[Metric] = []
    database_answers = redis_answers = True
    for collect in (_job_families, _queue_families, *_collectors):
        try:
            families += collect()
        except DatabaseError:
            database_answers = False
            connection.close()
        except redis.RedisUnavailable:
            redis_answers = False
        except Exception:
            log.exception("metrics_incomplete", collector=collect.__module__)
    families.append(_store_up(postgresql=database_answers, redis_answers=redis_answers))
    return families


_families = BackgroundValue(_collect_all, lifetime_seconds=LIFETIME_SECONDS)


def _store_up(*, postgresql: bool, redis_answers: bool) -> Metric:
    return labelled_gauge(
        "store_up",
        "1 when the store answered the last query for metrics.",
        ["store"],
        [(["postgresql"], float(postgresql)), (["redis"], float(redis_answers))],
    )


def _job_families() -> Iterator[Metric]:
    """Yield the numbers and ages of the rows of every kind of job."""
    counts: list[tuple[list[str], float]] = []
    ages: list[tuple[list[str], float]] = []
    retrying: list[tuple[list[str], float]] = []
    for kind in queue.job_models():
        backlog = queue.backlog(kind)
        name = kind.__name__
        counts += [
            ([name, status], backlog.counts.get(status, 0)) for status in (*kind.OPEN, Job.Status.DEAD)
        ]
        ages.append(([name], backlog.oldest_due_seconds))
        retrying.append(([name], backlog.retrying))
    yield labelled_gauge("job_rows", "Job rows that are open or dead.", ["kind", "status"], counts)
    yield labelled_gauge(
        "job_oldest_due_seconds",
        "How long the oldest due job row has been due; 0 when none is.",
        ["kind"],
        ages,
    )
    yield labelled_gauge(
        "job_retrying_rows", "Waiting job rows whose last attempt failed.", ["kind"], retrying
    )


def _queue_families() -> Iterator[Metric]:
    """Yield the lengths of the queues, what the workers must do and last did, and which are missing."""
    yield labelled_gauge(
        "periodic_period_seconds",
        "How often each periodic task is to run.",
        ["task"],
        [([name], task["seconds"]) for name, task in settings.PERIODIC_TASKS.items()],
    )
    lengths = redis.call(queue.message_counts)
    yield labelled_gauge(
        "queue_messages",
        "Messages in each queue of Celery.",
        ["queue"],
        [([name], length) for name, length in zip(settings.QUEUES, lengths, strict=True)],
    )
    yield gauge(
        "rejected_messages",
        "Messages that no worker could execute, since Redis was last empty.",
        broker.rejected_count(),
    )
    missing = heartbeats.missing_processes()
    yield labelled_gauge(
        "process_up",
        "1 when beat, or a worker of the queue, reported within a minute.",
        ["process"],
        [([name], float(name not in missing)) for name in heartbeats.expected_processes()],
    )
    successes = heartbeats.last_successes()
    yield labelled_gauge(
        "periodic_last_success_timestamp_seconds",
        "When each periodic task last succeeded.",
        ["task"],
        [
            ([entry["task"]], successes[entry["task"]])
            for entry in settings.CELERY_BEAT_SCHEDULE.values()
            if entry["task"] in successes
        ],
    )


class _Families(Collector):
    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        return self.families


def _format(families: Iterable[Metric]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Families(families))
    return generate_latest(registry)
