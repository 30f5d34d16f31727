"""Look through what is stored, and say what today's code would refuse."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from sites.services import upgrades


class Command(BaseCommand):
    help = "Validate every draft, release and post that is stored. Changes nothing; the exit code is 1 when something is not valid."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--revisions", action="store_true", help="also every kept save of the drafts")

    def handle(self, *args: Any, revisions: bool, **options: Any) -> None:
        checked = older = bad = 0
        for found in upgrades.check_blueprints(revisions=revisions):
            checked = checked + 1
            older = older + bool(found.older)
            if found.faults:
                bad += 1
                self.stderr.write(found.told())
        self.stdout.write(f"checked={checked} older={older} bad={bad}")
        if bad:
            raise CommandError("Some documents are not valid.")
