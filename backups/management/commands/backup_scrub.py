"""`manage.py backup_scrub`: the database against what is stored."""

from typing import Any

from django.utils import timezone

from backups.cli import BackupCommand, bar, run_of
from backups.services import runs
from backups.services.checks import scrub_run


class Command(BackupCommand):
    help = "Read again what looks as it did at the newest backup, and compare with what was stored then. Needs no key that opens backups."

    def handle(self, *args: Any, **options: Any) -> None:
        wanted = run_of(None)
        with self.alone(), bar("reading again", quiet=options["json"]) as told:
            runs.reconcile(now=timezone.now())
            found = scrub_run(wanted, told=told)
        self.say({"run": wanted.pk.hex, "good": True, "found": found}, found, as_json=options["json"])
