"""`manage.py backup_forget`: after a restore, whoever was erased is erased again."""

from typing import Any

from django.utils import timezone

from backups.cli import BackupCommand
from backups.services import erasure_tombstones


class Command(BackupCommand):
    help = "Erase again whoever was erased after the backup that this database was restored from. The worker does so each hour; run this before people get in."

    def handle(self, *args: Any, **options: Any) -> None:
        erasure_tombstones.mirror(now=timezone.now())
        again = erasure_tombstones.obey(now=timezone.now())
        self.say({"erased": again}, f"erased {again} people again", as_json=options["json"])
