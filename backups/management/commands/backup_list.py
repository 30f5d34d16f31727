"""`manage.py backup_list`: what the store has."""

from typing import Any

from django.db import DatabaseError
from rich.console import Console
from rich.table import Table

from backups import config
from backups.cli import BackupCommand, size
from backups.engine.retention import run_of, time_of
from backups.models import BackupRun


class Command(BackupCommand):
    help = "List the backups in the store, newest first, also those that this database does not know."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            known = {run.pk.hex: run for run in BackupRun.objects.filter(status=BackupRun.Status.DONE)}
        except DatabaseError:  # on a machine that has nothing yet but the store and its keys
            known = {}
        rows: list[dict[str, Any]] = []
        for name in reversed(config.repository().runs()):
            run = known.get(run_of(name))
            rows.append(
                {
                    "run": run_of(name),
                    "taken_at": run.taken_at if run else time_of(run_of(name)),
                    "kind": run.kind if run else "",
                    "shipped_bytes": run.shipped_bytes if run else None,
                    "stored_bytes": run.stored_bytes if run else None,
                    "chain": run.chain if run else None,
                    "verified_at": run.verified_at if run else None,
                    "proven_at": run.proven_at if run else None,
                }
            )
        if options["json"]:
            self.say({"runs": rows}, "", as_json=True)
            return
        table = Table("taken (UTC)", "run", "kind", "sent", "stored", "chain", "proven (UTC)", box=None)
        for row in rows:
            proven = f"{row['proven_at']:%Y-%m-%d %H:%M}" if row["proven_at"] else "no"
            sizes = [
                size(row[name]) if row[name] is not None else "" for name in ("shipped_bytes", "stored_bytes")
            ]
            table.add_row(
                f"{row['taken_at']:%Y-%m-%d %H:%M:%S}",
                row["run"],
                row["kind"],
                *sizes,
                str(row["chain"] or ""),
                proven,
            )
        console = Console(width=None if Console().is_terminal else 140)
        with console.capture() as said:
            console.print(table if rows else "There is no backup yet.")
        self.stdout.write(said.get())
