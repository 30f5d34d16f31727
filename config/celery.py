"""The Celery application. Its worker and beat start with `celery -A config.celery`."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import beat_init, setup_logging, worker_init

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
