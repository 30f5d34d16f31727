"""Celery beat, which sends the messages of the periodic tasks. Any number of them may run; one is enough."""

from typing import Any

from django.core.management.base import BaseCommand

from core.jobs import celery_processes


class Command(BaseCommand):
    help = "Send the messages of the periodic tasks. It keeps no file."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        celery_processes.replace_this_process(celery_processes.beat_command(), process="beat")
