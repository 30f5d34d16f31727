"""Drop months of the trail that are older than what you keep, each after its export."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.partitions import entry_partitions
from audit.retention import NotYet, drop_month
from core.storage.object_store import ObjectStoreUnavailable
from core.storage.partitions import month_start


class Command(BaseCommand):
    help = "Export and drop whole months, keeping the current one and --keep months before it. Leaves a signed stub."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--keep", type=int, default=24, help="Months to keep before the current one (24)."
        )
        parser.add_argument("--dry-run", action="store_true", help="Say what would be dropped.")

    def handle(self, *args: Any, keep: int, dry_run: bool, **options: Any) -> None:
        now = timezone.now()
        oldest = entry_partitions.name_of(month_start(now, -keep))
        for name in [month for month in entry_partitions.names() if month < oldest]:
            if not dry_run:
                try:
                    drop_month(name, now=now)
                except (NotYet, ObjectStoreUnavailable) as refusal:
                    raise CommandError(f"{name} stays: {refusal}") from None
            self.stdout.write(f"dropped={name} dry_run={dry_run}")
