"""The Celery application. Its worker and beat start with `celery -A config.celery`."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import beat_init, setup_logging, task_prerun, task_success, worker_init, worker_ready

# The warning is about a root user with pickled messages; our messages are JSON.
warnings.filterwarnings("ignore", category=SecurityWarning)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("getyousite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def disable_celery_logging_setup(**_: Any) -> None:
    """Do nothing: Celery leaves Django's logging configuration alone when this signal has a receiver."""


@worker_init.connect
@beat_init.connect
def run_startup_checks(**_: Any) -> None:
    """Stop a worker or beat that must not run. Raises StartupRefused."""
    from core.observability import startup_checks

    startup_checks.run_checks()


@worker_ready.connect
def report_worker(sender: Any, **_: Any) -> None:
    """Report this worker for each of its queues, for as long as it runs."""
    from core.jobs import heartbeats

    heartbeats.report_in_background([f"worker_{name}" for name in sender.app.amqp.queues.consume_from])


@beat_init.connect
def report_beat(**_: Any) -> None:
    """Report beat for as long as it runs."""
    from core.jobs import heartbeats

    heartbeats.report_in_background(["beat"])


@task_prerun.connect
def unmark_message(task: Any, **_: Any) -> None:
    """Allow the next message for a task whose message was taken from its queue."""
    from core.jobs import queue

    queue.unmark_message(task.name)


@task_success.connect
def record_success(sender: Any, result: Any, **_: Any) -> None:
    """Record when a periodic task last did its work."""
    from core.jobs import heartbeats, periodic

    if result != periodic.SKIPPED:
        heartbeats.record_success(sender.name)
