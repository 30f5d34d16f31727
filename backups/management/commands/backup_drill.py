"""`manage.py backup_drill`: prove a backup by restoring it."""

from typing import Any

from django.core.management.base import CommandParser

from backups.cli import (
    BackupCommand,
    add_identity_argument,
    add_run_argument,
    find_restorable_run,
    progress_bar,
)
from backups.services import checks


class Command(BackupCommand):
    help = (
        "Restore a backup (default: the newest that can be proven) into a temporary database, compare"
        " structure, row counts and content, and drop the database. The backup is then marked as proven."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_run_argument(parser)
        add_identity_argument(parser)

    def handle(self, *args: Any, run: str | None, **options: Any) -> None:
        backup = find_restorable_run(run, provable=True)
        identities = tuple(options["identity"])
        with self.hold_worker_lock(), progress_bar("restoring", quiet=options["json"]) as on_progress:
            result = checks.drill_run(backup, on_progress=on_progress, identities=identities)
        self.write_result(
            {"run": backup.pk.hex, "proven": True, "found": result},
            f"{backup.pk.hex} is proven: {result}",
            as_json=options["json"],
        )
