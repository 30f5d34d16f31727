"""`manage.py backup_forget`: after a restore, erase again the people who had been erased."""

from typing import Any

from django.utils import timezone

from backups.cli import BackupCommand
from backups.services import erasure_tombstones


class Command(BackupCommand):
    help = (
        "Erase again the people who were erased after the backup that this database was restored from."
        " The worker does this every hour. Run the command before you let users in."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        erasure_tombstones.copy_tombstones_to_store(now=timezone.now())
        erased = erasure_tombstones.erase_restored_people(now=timezone.now())
        self.write_result({"erased": erased}, f"erased {erased} people again", as_json=options["json"])
