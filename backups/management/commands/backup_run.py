"""`manage.py backup_run`: a backup now."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from backups.cli import BackupCommand, bar, size
from backups.models import BackupRun
from backups.services import runs


class Command(BackupCommand):
    help = "Take a backup now: what changed since the last one, or with --full everything."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--full", action="store_true", help="Read everything again.")
        parser.add_argument(
            "--provable",
            action="store_true",
            help="Sum the content of rows, so that a drill can compare it. One backup a day is so by itself.",
        )

    def handle(self, *args: Any, full: bool, provable: bool, **options: Any) -> None:
        with self.alone(), bar("reading", quiet=options["json"]) as told:
            runs.reconcile(now=timezone.now())
            run = runs.take_run(runs.queue_run(actor=SYSTEM, full=full, provable=provable), told=told)
        if run.status != BackupRun.Status.DONE:
            raise CommandError(f"The backup {run.status}: {run.error}")
        facts = {
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
        text = f"{run.kind} {run.pk.hex}: {run.rows:,} rows, {size(run.shipped_bytes)} sent, {size(run.stored_bytes)} stored, {run.seconds:.1f} s"
        self.say(facts, text, as_json=options["json"])
