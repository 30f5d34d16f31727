"""The Celery application. Its worker and beat start with `celery -A config.celery`."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning
from celery.signals import beat_init, setup_logging, worker_init

warnings.filterwarnings("ignore", category=SecurityWarning)  # about root and pickle: our messages are JSON
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
app = Celery("getyousite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def keep_our_logging(**_: Any) -> None:
    """Celery leaves logging alone when this signal has a receiver."""


@worker_init.connect
@beat_init.connect
def check_boot(**_: Any) -> None:
    from core.observability import startup_checks

    startup_checks.run_checks()
