"""`manage.py backup_verify`: verify the stored objects of a backup."""

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
from backups.services.checks import SAMPLE_SHARE


class Command(BackupCommand):
    help = (
        "Read and decrypt what a backup needs, or only one pack in a hundred with --sample."
        " Without a key only checksums are compared."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_run_argument(parser)
        add_identity_argument(parser)
        parser.add_argument("--sample", action="store_true", help="Read one pack in a hundred, at least one.")
        parser.add_argument("--all", action="store_true", help="Read every pack (the default).")

    def handle(self, *args: Any, run: str | None, sample: bool, **options: Any) -> None:
        backup = find_restorable_run(run)
        with progress_bar("verifying", quiet=options["json"]) as on_progress:
            result = checks.verify_run(
                backup,
                share=SAMPLE_SHARE if sample else 1.0,
                on_progress=on_progress,
                identities=tuple(options["identity"]),
            )
        self.write_result(
            {"run": backup.pk.hex, "good": True, "found": result},
            f"{backup.pk.hex}: {result}",
            as_json=options["json"],
        )
