"""`manage.py backup_verify`: whether what is stored is what was stored."""

from typing import Any

from django.core.management.base import CommandParser

from backups.cli import BackupCommand, add_identity, add_run, bar, run_of
from backups.services import checks


class Command(BackupCommand):
    help = "Read what a backup needs and open it; with --sample only one pack in a hundred. Without a key only checksums are compared."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_run(parser)
        add_identity(parser)
        parser.add_argument("--sample", action="store_true", help="Read one pack in a hundred, at least one.")
        parser.add_argument("--all", action="store_true", help="Read every pack (the default).")

    def handle(self, *args: Any, run: str | None, sample: bool, **options: Any) -> None:
        wanted = run_of(run)
        with bar("verifying", quiet=options["json"]) as told:
            found = checks.verify_run(
                wanted, share=0.01 if sample else 1.0, told=told, identities=tuple(options["identity"])
            )
        self.say(
            {"run": wanted.pk.hex, "good": True, "found": found},
            f"{wanted.pk.hex}: {found}",
            as_json=options["json"],
        )
