"""`manage.py upgrade`: back up the database, then migrate it to the version of this program."""

from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from audit.actors import SYSTEM
from backups.cli import BackupCommand, format_bytes
from backups.models import BackupRun
from backups.services import runs
from core.observability import health, startup_checks

MIGRATION_ATTEMPTS = 5  # when a migration does not get its lock in time
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE


class Command(BackupCommand):
    help = (
        "Run the start-up checks, back up, migrate, and check the health. Stops at the first step that fails"
        " and reports how to go back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--no-backup", action="store_true", help="Use this after a recent backup.")

    def handle(self, *args: Any, no_backup: bool, **options: Any) -> None:
        startup_checks.run_checks()
        pending_migrations = self._list_pending_migrations()
        run = None if no_backup or not self._has_backup_tables() else self._take_backup()
        self._migrate()
        _, health_report = health.readiness(health.PUBLIC_PARTS)
        if health_report["database"] != "ok" or health_report["migrations"] != "ok":
            raise CommandError(
                f"The migrations ran, but the health check failed: {health_report}."
                " docs/upgrading.md explains how to go back."
            )
        result = {
            "backup": run.pk.hex if run else None,
            "migrations": len(pending_migrations),
            "health": health_report,
        }
        text = f"{len(pending_migrations)} migrations applied, the health check passed. " + (
            f"To go back, restore backup {run.pk.hex} ({format_bytes(run.stored_bytes)})." if run else ""
        )
        self.write_result(result, text, as_json=options["json"])

    def _list_pending_migrations(self) -> list[Any]:
        executor = MigrationExecutor(connection)
        return list(executor.migration_plan(executor.loader.graph.leaf_nodes()))

    def _has_backup_tables(self) -> bool:
        """Whether the database is not new, so that there is something to back up."""
        return "backups_backuprun" in connection.introspection.table_names()

    def _take_backup(self) -> BackupRun:
        with self.hold_worker_lock():
            runs.recover_interrupted_jobs(now=timezone.now())
            run = runs.execute_run(runs.queue_run(actor=SYSTEM))
        if run.status != BackupRun.Status.DONE:
            raise CommandError(f"Nothing was changed: the backup {run.status}: {run.error}")
        return run

    def _migrate(self) -> None:
        for attempts_left in reversed(range(MIGRATION_ATTEMPTS)):
            try:
                call_command("migrate", verbosity=0, interactive=False)
            except DatabaseError as error:
                if attempts_left and getattr(error.__cause__, "sqlstate", "") == LOCK_NOT_AVAILABLE:
                    continue
                raise CommandError(
                    f"A migration failed and was rolled back: {error}."
                    " docs/upgrading.md explains how to go back."
                ) from None
            else:
                return
