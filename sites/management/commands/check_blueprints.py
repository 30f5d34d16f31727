"""Validate the stored blueprints and posts with the rules of the current version."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sites.services import upgrades


class Command(BaseCommand):
    help = (
        "Validate every stored draft, release and post. Changes nothing. "
        "The exit code is 1 when a document is not valid."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--revisions", action="store_true", help="also validate every stored revision")

    def handle(self, *args: Any, revisions: bool, **options: Any) -> None:
        checked = 0
        older = 0
        bad = 0
        for document in upgrades.check_blueprints(revisions=revisions):
            checked += 1
            older += bool(document.older)
            if document.faults:
                bad += 1
                self.stderr.write(document.summary())
        self.stdout.write(f"checked={checked} older={older} bad={bad}")
        if bad:
            raise CommandError("Some documents are not valid.")
