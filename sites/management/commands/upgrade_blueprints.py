"""Bring stored drafts and posts to the newest block shapes."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sites.services import upgrades


class Command(BaseCommand):
    help = (
        "Bring the blocks of drafts and posts to their newest shapes, one document at a time. What is not valid afterwards is named "
        "and left as it is; the exit code is then 1. A second run changes nothing. Releases are upgraded as they are read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="count, and change nothing")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        upgraded = blocks = bad = 0
        for found in upgrades.upgrade_blueprints(dry_run=dry_run):
            if found.faults:
                bad += 1
                self.stderr.write(found.told())
            else:
                upgraded = upgraded + 1
                blocks = blocks + found.older
        self.stdout.write(f"documents={upgraded} blocks={blocks} bad={bad} dry_run={dry_run}")
        if bad:
            raise CommandError("Some documents could not be upgraded; they are as they were.")
