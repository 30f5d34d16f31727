"""`manage.py backup_list`: list the backups in the store."""

from typing import Any

from django.db import DatabaseError
from rich.console import Console
from rich.table import Table

from backups import config
from backups.cli import BackupCommand, format_bytes
from backups.engine.retention import parse_run_id, parse_run_time
from backups.models import BackupRun

WIDTH_WITHOUT_TERMINAL = 140


class Command(BackupCommand):
    help = "List the backups in the store, newest first, including those that are not in this database."

    def handle(self, *args: Any, **options: Any) -> None:
        rows = self._list_backups()
        if options["json"]:
            self.write_result({"runs": rows}, "", as_json=True)
            return
        console = Console(width=None if Console().is_terminal else WIDTH_WITHOUT_TERMINAL)
        with console.capture() as output:
            console.print(_format_table(rows) if rows else "There is no backup yet.")
        self.stdout.write(output.get())

    def _list_backups(self) -> list[dict[str, Any]]:
        try:
            done = BackupRun.objects.filter(status=BackupRun.Status.DONE)
            runs = {run.pk.hex: run for run in done}
        except DatabaseError:  # a new machine may have the store and its keys, but no tables yet
            runs = {}
        run_ids = [parse_run_id(name) for name in reversed(config.repository().list_manifests())]
        return [_describe_run(run_id, runs.get(run_id)) for run_id in run_ids]


def _describe_run(run_id: str, run: BackupRun | None) -> dict[str, Any]:
    return {
        "run": run_id,
        "taken_at": run.taken_at if run else parse_run_time(run_id),
        "kind": run.kind if run else "",
        "shipped_bytes": run.shipped_bytes if run else None,
        "stored_bytes": run.stored_bytes if run else None,
        "chain": run.chain if run else None,
        "verified_at": run.verified_at if run else None,
        "proven_at": run.proven_at if run else None,
    }


def _format_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("taken (UTC)", "run", "kind", "sent", "stored", "chain", "proven (UTC)", box=None)
    for row in rows:
        table.add_row(
            f"{row['taken_at']:%Y-%m-%d %H:%M:%S}",
            row["run"],
            row["kind"],
            _format_size(row["shipped_bytes"]),
            _format_size(row["stored_bytes"]),
            str(row["chain"] or ""),
            f"{row['proven_at']:%Y-%m-%d %H:%M}" if row["proven_at"] else "no",
        )
    return table


def _format_size(size: int | None) -> str:
    return "" if size is None else format_bytes(size)
