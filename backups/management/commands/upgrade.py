"""`manage.py upgrade`: to the version of this program, with a way back."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from audit.actors import SYSTEM
from backups.cli import BackupCommand, size
from backups.models import BackupRun
from backups.services import runs
from core.observability import health, startup_checks

TRIES = 5  # of a migration that did not get its lock in time


class Command(BackupCommand):
    help = "Back up, check, migrate, look whether all is well. Stops at the first step that fails, and says how to go back."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--no-backup", action="store_true", help="Somebody else has taken one just now.")

    def handle(self, *args: Any, no_backup: bool, **options: Any) -> None:
        startup_checks.run_checks()
        plan = self._plan()
        run = None if no_backup or not self._is_there() else self._back_up()
        self._migrate()
        found = health.run_health_checks()
        if found["database"] != "ok" or found["migrations"] != "ok":
            raise CommandError(f"Migrated, but not well: {found}. docs/upgrading.md says how to go back.")
        facts = {"backup": run.pk.hex if run else None, "migrations": len(plan), "health": found}
        text = f"{len(plan)} migrations applied, all is well. " + (
            f"The way back is backup {run.pk.hex} ({size(run.stored_bytes)})." if run else ""
        )
        self.say(facts, text, as_json=options["json"])

    def _plan(self) -> list[Any]:
        executor = MigrationExecutor(connection)
        return list(executor.migration_plan(executor.loader.graph.leaf_nodes()))

    def _is_there(self) -> bool:
        """Whether this database has anything to save, and the tables to note it in."""
        return "backups_backuprun" in connection.introspection.table_names()

    def _back_up(self) -> BackupRun:
        with self.alone():
            runs.reconcile(now=timezone.now())
            run = runs.take_run(runs.queue_run(actor=SYSTEM))
        if run.status != BackupRun.Status.DONE:
            raise CommandError(f"Nothing was changed: the backup {run.status}: {run.error}")
        return run

    def _migrate(self) -> None:
        for left in reversed(range(TRIES)):
            try:
                call_command("migrate", verbosity=0, interactive=False)
            except DatabaseError as error:
                if left and getattr(error.__cause__, "sqlstate", "") == "55P03":  # lock_not_available
                    continue
                raise CommandError(
                    f"A migration failed and was undone: {error}. docs/upgrading.md says how to go back."
                ) from None
            else:
                return
