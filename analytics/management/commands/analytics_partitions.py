"""`manage.py analytics_partitions`: creates coming monthly partitions of events and drops expired ones."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from analytics import partitions


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
            created_count = partitions.make_ahead(now)
            dropped = partitions.drop_older(now - settings.ANALYTICS_KEEP_FOR)
        for name in partitions.existing():
            self.stdout.write(name)
        names = f": {', '.join(dropped)}" if dropped else ""
        self.stdout.write(f"{created_count} created, {len(dropped)} dropped{names}")
