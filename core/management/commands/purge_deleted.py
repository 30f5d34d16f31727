"""Delete for good what users deleted some days ago, without waiting for the periodic job."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from core import lifecycle, tenancy


class Command(BaseCommand):
    help = "Delete for good what users deleted more than --days ago. After that only a backup can restore it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--days", type=int, default=settings.SOFT_DELETE_FOR.days, help="default: %(default)s"
        )
        parser.add_argument("--dry-run", action="store_true", help="only count, do not delete")

    def handle(self, *args: Any, days: int, dry_run: bool, **options: Any) -> None:
        if days < 0:
            raise CommandError("--days must be 0 or more.")
        with tenancy.context(tenancy.SYSTEM):
            count = lifecycle.purge_expired(before=timezone.now() - timedelta(days=days))
            transaction.set_rollback(dry_run)
        self.stdout.write(f"purged={count} dry_run={dry_run}")
