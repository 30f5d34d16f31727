"""Upgrade the blocks of stored drafts and posts to their newest version."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sites.services import upgrades


class Command(BaseCommand):
    help = (
        "Upgrade the blocks of drafts and posts to their newest version, one document at a time. "
        "A document that is not valid afterwards is reported and not changed, and the exit code is 1. "
        "A second run changes nothing. Releases are upgraded whenever they are read."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--dry-run", action="store_true", help="count the documents without changing them"
        )

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        upgraded = 0
        blocks = 0
        bad = 0
        for document in upgrades.upgrade_blueprints(dry_run=dry_run):
            if document.faults:
                bad += 1
                self.stderr.write(document.summary())
            else:
                upgraded += 1
                blocks += document.older
        self.stdout.write(f"documents={upgraded} blocks={blocks} bad={bad} dry_run={dry_run}")
        if bad:
            raise CommandError("Some documents could not be upgraded. They were not changed.")
