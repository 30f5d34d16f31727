"""`manage.py backup_scrub`: compare the database with the newest backup."""

from typing import Any

from django.utils import timezone

from backups.cli import BackupCommand, find_restorable_run, progress_bar
from backups.services import runs
from backups.services.checks import scrub_run


class Command(BackupCommand):
    help = (
        "Read again what seems unchanged since the newest backup, and compare the content with what was"
        " stored. Needs no decryption key."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        run = find_restorable_run(None)
        with self.hold_worker_lock(), progress_bar("reading again", quiet=options["json"]) as on_progress:
            runs.recover_interrupted_jobs(now=timezone.now())
            result = scrub_run(run, on_progress=on_progress)
        self.write_result({"run": run.pk.hex, "good": True, "found": result}, result, as_json=options["json"])
