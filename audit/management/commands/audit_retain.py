"""Archive and drop the months of the audit trail that are older than the retention period."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.chain.partitions import entry_partitions
from audit.retention import MonthNotDroppable, archive_and_drop_month
from core.storage.object_store import ObjectStoreUnavailable
from core.storage.partitions import month_start


class Command(BaseCommand):
    help = (
        "Export whole months to the object store and drop them from the database, except the current month "
        "and the --keep months before it. A signed stub replaces each dropped month."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep", type=int, default=24, help="Number of months to keep before the current month (24)."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Print the months that would be dropped, and drop none."
        )

    def handle(self, *args: Any, keep: int, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        oldest_kept = entry_partitions.name_of(month_start(now, -keep))
        for name in [month for month in entry_partitions.names() if month < oldest_kept]:
            if not dry_run:
                try:
                    archive_and_drop_month(name, now=now)
                except (MonthNotDroppable, ObjectStoreUnavailable) as refusal:
                    raise CommandError(f"{name} was not dropped: {refusal}") from None
            self.stdout.write(f"dropped={name} dry_run={dry_run}")
