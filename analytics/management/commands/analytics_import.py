"""`manage.py analytics_import`: what was counted elsewhere, added once."""

import gzip
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from analytics.imports import importers
from analytics.imports.importers import Target
from analytics.ingest.settings_cache import zones_of
from analytics.models import Settings
from analytics.reports import rollups
from audit import actors
from audit.services import record
from core import tenancy
from sites.models import Site
from sites.subdomains import host_of

TOLD = {
    "added": "events added",
    "known": "there already",
    "days": "days of sums kept",
    "days_with_events": "days left out: they have events of their own",
    "day_has_sums": "left out: sums of that day were imported",
    "too_old": "left out: older than events are kept here (ANALYTICS_KEEP_DAYS)",
    "too_new": "left out: from the future",
    "too_late": "left out: today, or not before --until",
    "other_host": "left out: of another host than --host",
    "unreadable": "lines that were not understood",
    "no_page": "lines that are no page view",
    "bot": "lines of crawlers",
}


class Command(BaseCommand):
    help = "Import visits of one site. Killed half-way it goes on when it is run again; a second run adds nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subdomain")
        parser.add_argument(
            "files", nargs="+", type=Path, help="CSV or log files, also .gz, and .zip of an export."
        )
        parser.add_argument("--from", dest="source", required=True, choices=["plausible", "umami", "log"])
        parser.add_argument(
            "--host",
            default="",
            help="The host it had there: links within it are no source, other hosts are left out.",
        )
        parser.add_argument(
            "--name", default="", help="Of the server that wrote a log, where there are several."
        )
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            help="The first day that is left out: when counting began here.",
        )

    def handle(self, *args: Any, subdomain: str, files: list[Path], source: str, **options: Any) -> None:
        with tenancy.context(tenancy.SYSTEM):
            site = Site.objects.alive().filter(subdomain=subdomain).first()
        if site is None:
            raise CommandError(f"There is no site {subdomain!r}.")
        if missing := [str(path) for path in files if not path.is_file()]:
            raise CommandError(f"Not a file: {', '.join(missing)}")
        zone = zones_of({site.number}).get(site.number, "UTC")
        with tenancy.context(tenancy.SYSTEM):
            days = Settings.objects.filter(site=site).values_list("keep_days", flat=True).first()
        keep = min(settings.ANALYTICS_KEEP_FOR, timedelta(days=days)) if days else settings.ANALYTICS_KEEP_FOR
        host = options["host"]
        now = timezone.now()
        target = Target(
            site.number,
            zone,
            host or host_of(subdomain),
            now,
            keep,
            own=bool(host),
            name=options["name"],
            until=options["until"],
        )
        with alone(site.number):
            self._read(target, source, files, quiet=options["verbosity"] == 0)
        while rollups.recount():
            pass
        counted: dict[str, Any] = dict(target.counted)
        with tenancy.context(tenancy.SYSTEM):
            record("analytics.imported", actor=actors.SYSTEM, subject=site, source=source, **counted)
        for name, count in target.counted.most_common():
            self.stdout.write(f"{count:>10,} {TOLD[name]}")

    def _read(self, target: Target, source: str, files: list[Path], *, quiet: bool) -> None:
        sums: importers.Sums = {}
        seen: set[tuple[str, date]] = set()
        parts = [part for path in files for part in _parts(path)]
        with Progress(console=Console(stderr=True), disable=quiet) as progress:
            for path, name in parts:
                with _opened(path, name, progress) as lines:
                    if source == "plausible":
                        if table := importers.table_of(name or path.name):
                            self._table(table, lines, sums, seen)
                    else:
                        importers.add(
                            target, {"umami": importers.umami, "log": importers.log}[source](target, lines)
                        )
        if source == "plausible":
            if not any(name == "" for _, name, _ in sums):
                raise CommandError("No file is named imported_visitors….csv, so there are no days to keep.")
            importers.add_sums(target, sums)

    def _table(self, table: str, lines: IO[str], sums: importers.Sums, seen: set[tuple[str, date]]) -> None:
        try:
            importers.plausible(table, lines, sums, seen)
        except ValueError as error:
            raise CommandError(f"{table} is not a table of a Plausible export: {error}") from None


@contextmanager
def alone(number: int) -> Iterator[None]:
    """Two imports of a site at once would each add what the other has not written yet.

    Raises CommandError.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('analytics import'), %s)", [number])
        if not cursor.fetchone()[0]:
            raise CommandError("Another import of this site is running.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('analytics import'), %s)", [number])


def _parts(path: Path) -> list[tuple[Path, str]]:
    """A file, or each file of an archive."""
    if path.suffix != ".zip":
        return [(path, "")]
    with zipfile.ZipFile(path) as archive:
        return [(path, name) for name in archive.namelist() if name.endswith((".csv", ".log"))]


@contextmanager
def _opened(path: Path, name: str, progress: Progress) -> Iterator[IO[str]]:
    """The lines of a file, with a bar that follows its bytes."""
    with progress.open(path, "rb", description=name or path.name) as raw:
        if name:
            with zipfile.ZipFile(raw) as archive, archive.open(name) as part:  # type: ignore[arg-type]
                yield io.TextIOWrapper(part, "utf-8", errors="replace", newline="")
        else:
            plain: Any = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw  # type: ignore[arg-type]
            yield io.TextIOWrapper(plain, "utf-8", errors="replace", newline="")
