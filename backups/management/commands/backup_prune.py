"""`manage.py backup_prune`: what the plan does not keep, goes."""

from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from backups.cli import BackupCommand
from backups.services import retention


class Command(BackupCommand):
    help = "Delete backups that the plan (28 of 6 hours, 14 days, 8 weeks, 12 months) does not keep, never past the newest proven one. Needs no key."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--dry-run", action="store_true", help="Only say what would go.")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        with self.alone():
            found = retention.prune(now=timezone.now(), dry_run=dry_run)
        facts = {"runs": found.runs, "objects": found.objects, "kept": found.kept, "dry_run": dry_run}
        text = f"{'would delete' if dry_run else 'deleted'} {len(found.runs)} backups, {found.objects} objects; {found.kept} are locked"
        self.say(facts, text, as_json=options["json"])
