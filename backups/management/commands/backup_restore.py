"""`manage.py backup_restore`: restore a whole database."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from backups import config
from backups.cli import (
    BackupCommand,
    add_identity_argument,
    parse_database_url,
    parse_datetime,
    progress_bar,
)
from backups.engine.restore import connect_target, find_unfinished_restore, restore_backup
from backups.engine.retention import parse_run_id
from backups.engine.table_names import parse_table_names


class Command(BackupCommand):
    help = (
        "Restore a backup into an empty database. The target is marked until it is complete, and no process"
        " serves a marked database."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        selection = parser.add_mutually_exclusive_group()
        selection.add_argument(
            "--at",
            type=parse_datetime,
            help="Use the newest backup at or before this time, such as 2026-11-20T12:00Z, or of this day.",
        )
        selection.add_argument("--run", help="The id of the backup. Default: the newest.")
        parser.add_argument(
            "--target",
            type=parse_database_url,
            metavar="URL",
            help="postgresql://… of an empty database, or of one whose restore --resume continues. Default:"
            " DATABASE_URL, which keeps the password off the command line.",
        )
        parser.add_argument(
            "--tables",
            help="Restore only these tables, comma separated, and what they need. The target stays marked.",
        )
        parser.add_argument("--resume", action="store_true", help="Continue a restore that was interrupted.")
        parser.add_argument(
            "--prove", action="store_true", help="Also compare the content of every table with the backup."
        )
        parser.add_argument("--jobs", type=int, default=2, help="Number of parallel connections. Default: 2.")
        add_identity_argument(parser)

    def handle(
        self,
        *args: Any,
        at: datetime | None,
        run: str | None,
        target: str | None,
        tables: str | None,
        **options: Any,
    ) -> None:
        repository = config.repository(identities=tuple(options["identity"]))
        target = target or config.database_dsn()
        if options["resume"] and not (run or at):
            with connect_target(target) as connection:
                run = find_unfinished_restore(connection)
        name = repository.find_manifest(run_id=run.replace("-", "") if run else None, at=at)
        manifest = repository.load_manifest(name)
        table_names = parse_table_names(tables) if tables else None
        if not options["json"]:
            self.stdout.write(f"restoring backup {parse_run_id(name)}, taken at {manifest.taken_at}")
        with progress_bar("restoring", quiet=options["json"]) as on_progress:
            restore_backup(
                repository,
                manifest,
                target,
                programs=config.programs(),
                workers=max(1, options["jobs"]),
                on_progress=on_progress,
                tables=table_names,
                resume=options["resume"],
                compare_content=options["prove"],
            )
        rows = sum(
            table.rows for table in manifest.tables if table_names is None or table.name in table_names
        )
        if not rows:
            raise CommandError("The structure was restored, but the backup has no rows.")
        version = manifest.metadata.get("version")
        result = {
            "run": parse_run_id(name),
            "taken_at": manifest.taken_at,
            "version": version,
            "rows": rows,
            "whole": table_names is None,
        }
        text = f"restored {rows:,} rows as of {manifest.taken_at}, backed up by version {version}"
        text += (
            "\nOnly some tables were restored: the target stays marked, and no process serves it."
            if table_names
            else "\nNext: run migrate, then backup_forget, with DATABASE_URL set to the target."
        )
        self.write_result(result, text, as_json=options["json"])
