"""`manage.py analytics_partitions`: the months of events, made ahead and dropped when their time is over."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from analytics.partitions import event_partitions


class Command(BaseCommand):
    help = "Make the partitions of the months to come, drop those past ANALYTICS_KEEP_DAYS, and list what is there. Beat does it, too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="List only.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        made = 0
        gone = []
        if not dry_run:
            made = event_partitions.create_ahead(now)
            gone = event_partitions.drop_before(now - settings.ANALYTICS_KEEP_FOR)
        for name in event_partitions.names():
            self.stdout.write(name)
        self.stdout.write(f"{made} made, {len(gone)} dropped" + (f": {', '.join(gone)}" if gone else ""))
