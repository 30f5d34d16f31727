"""`manage.py backup_restore`: a whole database, as it was."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandParser

from backups import config
from backups.cli import BackupCommand, add_identity, bar, moment
from backups.engine.restore import restore
from backups.engine.retention import run_of


class Command(BackupCommand):
    help = "Restore a backup into an empty database. Until it is whole the target says so of itself, and no process serves it. The database of this installation is not asked."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--at",
            type=moment,
            help="The newest backup that was taken then or before, such as 2026-11-20T12:00Z.",
        )
        which.add_argument("--run", help="This backup, by its id. Default: the newest.")
        parser.add_argument(
            "--target",
            required=True,
            metavar="URL",
            help="postgresql://… of an empty database, or of one that --resume goes on with.",
        )
        parser.add_argument(
            "--tables", help="Only these, comma separated: the target stays marked, without foreign keys."
        )
        parser.add_argument("--resume", action="store_true", help="Go on with a restore that did not finish.")
        parser.add_argument(
            "--prove", action="store_true", help="Compare the content of every table with what it was, too."
        )
        parser.add_argument(
            "--jobs", type=int, default=2, help="Connections that fill and index at once. Default: 2."
        )
        add_identity(parser)

    def handle(
        self,
        *args: Any,
        at: datetime | None,
        run: str | None,
        target: str,
        tables: str | None,
        **options: Any,
    ) -> None:
        repository = config.repository(identities=tuple(options["identity"]))
        name = repository.find(run=run.replace("-", "") if run else None, at=at)
        manifest = repository.manifest(name)
        chosen = (
            [table if "." in table else f"public.{table}" for table in tables.split(",")] if tables else None
        )
        with bar("restoring", quiet=options["json"]) as told:
            restore(
                repository,
                manifest,
                target,
                workers=max(1, options["jobs"]),
                told=told,
                tables=chosen,
                resume=options["resume"],
                prove=options["prove"],
            )
        rows = sum(table.rows for table in manifest.tables if chosen is None or table.key in chosen)
        facts = {
            "run": run_of(name),
            "taken_at": manifest.at,
            "version": manifest.facts.get("version"),
            "rows": rows,
            "whole": chosen is None,
        }
        text = f"restored {rows:,} rows as of {manifest.at}, made by version {manifest.facts.get('version')}"
        text += (
            "\nOnly a part: the target stays marked, and no process serves it."
            if chosen
            else "\nNext: migrate, then backup_forget, with DATABASE_URL set to the target."
        )
        self.say(facts, text, as_json=options["json"])
