"""`manage.py backup_run`: take a backup now."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from backups.cli import BackupCommand, format_bytes, progress_bar
from backups.models import BackupRun
from backups.services import runs


class Command(BackupCommand):
    help = "Take a backup now. It stores what changed since the last one, or everything with --full."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--full", action="store_true", help="Read everything again.")
        parser.add_argument(
            "--provable",
            action="store_true",
            help="Hash the content of rows for a drill to compare. One backup a day is hashed anyway.",
        )

    def handle(self, *args: Any, full: bool, provable: bool, **options: Any) -> None:
        with self.hold_worker_lock(), progress_bar("reading", quiet=options["json"]) as on_progress:
            runs.recover_interrupted_jobs(now=timezone.now())
            queued = runs.queue_run(actor=SYSTEM, full=full, provable=provable)
            run = runs.execute_run(queued, on_progress=on_progress)
        if run.status != BackupRun.Status.DONE:
            raise CommandError(f"The backup {run.status}: {run.error}")
        result = {
            "run": run.pk.hex,
            "kind": run.kind,
            "taken_at": run.taken_at,
            "provable": run.provable,
            "rows": run.rows,
            "read_bytes": run.read_bytes,
            "shipped_bytes": run.shipped_bytes,
            "stored_bytes": run.stored_bytes,
            "seconds": round(run.seconds, 2),
        }
        text = (
            f"{run.kind} {run.pk.hex}: {run.rows:,} rows, {format_bytes(run.shipped_bytes)} sent,"
            f" {format_bytes(run.stored_bytes)} stored, {run.seconds:.1f} s"
        )
        self.write_result(result, text, as_json=options["json"])
