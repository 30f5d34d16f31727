"""A Celery worker for some queues.

On SIGTERM a task has 20 s to finish. Then it is stopped, and its job row is claimed again when its lease
ends.
"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from core.jobs import celery_processes


class Command(BaseCommand):
    help = "Run the periodic tasks and the jobs of some queues. Every queue needs a worker somewhere."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--queues",
            default=",".join(settings.QUEUES),
            help="comma separated; default: all of them, which lets one delay another (%(default)s)",
        )
        parser.add_argument(
            "--processes", type=int, help="tasks at the same time; default: one for each queue"
        )

    def handle(self, *args: Any, queues: str, processes: int | None, **options: Any) -> None:
        names = [name.strip() for name in queues.split(",") if name.strip()]
        unknown = sorted(set(names) - set(settings.QUEUES))
        if unknown or not names:
            raise CommandError(f"Unknown queues: {unknown}. Choose from {', '.join(settings.QUEUES)}.")
        if processes is not None and processes < 1:
            raise CommandError("--processes must be 1 or more.")
        command = celery_processes.worker_command(names, processes=processes or len(names))
        celery_processes.replace_this_process(command, process="worker")
