"""`manage.py analytics_partitions`: creates coming monthly partitions of events and drops expired ones."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from analytics.partitions import event_partitions


class Command(BaseCommand):
    help = (
        "Create the partitions of the coming months, drop those older than ANALYTICS_KEEP_DAYS, and list "
        "all. Celery beat does the same regularly."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="List the partitions, and change nothing.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        created_count = 0
        dropped: list[str] = []
        if not dry_run:
            created_count = event_partitions.create_ahead(now)
            dropped = event_partitions.drop_before(now - settings.ANALYTICS_KEEP_FOR)
        for name in event_partitions.names():
            self.stdout.write(name)
        names = f": {', '.join(dropped)}" if dropped else ""
        self.stdout.write(f"{created_count} created, {len(dropped)} dropped{names}")
