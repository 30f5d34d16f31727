"""`manage.py backup_prune`: delete the backups that the retention policy does not keep."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from backups.cli import BackupCommand
from backups.services import retention


class Command(BackupCommand):
    help = (
        "Delete the backups that the retention policy (28 of 6 hours, 14 days, 8 weeks, 12 months) does not"
        " keep. The newest proven backup and later ones always stay. Needs no key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only report what would be deleted.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        with self.hold_worker_lock():
            pruned = retention.prune_backups(now=timezone.now(), dry_run=dry_run)
        result = {
            "runs": pruned.run_ids,
            "objects": pruned.deleted_objects,
            "kept": pruned.undeletable_objects,
            "dry_run": dry_run,
        }
        text = (
            f"{'would delete' if dry_run else 'deleted'} {len(pruned.run_ids)} backups,"
            f" {pruned.deleted_objects} objects; {pruned.undeletable_objects} are locked"
        )
        self.write_result(result, text, as_json=options["json"])
