"""`manage.py backup_drill`: proof by restoring."""

from typing import Any

from django.core.management.base import CommandParser

from backups.cli import BackupCommand, add_identity, add_run, bar, run_of
from backups.services import checks


class Command(BackupCommand):
    help = "Restore a backup (default: the newest that can be proven) into a database made for it, compare structure, counts and content, drop it. The backup is proven then."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_run(parser)
        add_identity(parser)

    def handle(self, *args: Any, run: str | None, **options: Any) -> None:
        wanted = run_of(run, provable=True)
        with self.alone(), bar("restoring", quiet=options["json"]) as told:
            found = checks.drill_run(wanted, told=told, identities=tuple(options["identity"]))
        self.say(
            {"run": wanted.pk.hex, "proven": True, "found": found},
            f"{wanted.pk.hex} is proven: {found}",
            as_json=options["json"],
        )
