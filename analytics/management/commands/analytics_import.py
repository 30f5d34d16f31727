"""`manage.py analytics_import`: imports visits that another tool recorded, each once."""

import gzip
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.utils import timezone
from rich.console import Console
from rich.progress import Progress

from analytics.imports import access_log, plausible, umami
from analytics.imports.events import ImportTarget, add_events
from analytics.models import Settings
from analytics.reports import rollups
from analytics.selectors import get_time_zones
from audit import actors
from audit.services import record
from core import tenancy
from sites.models import Site
from sites.subdomains import host_of

OUTCOME_LABELS = {
    "added": "events added",
    "known": "already imported",
    "days": "days of totals imported",
    "days_with_events": "days left out: they already have events",
    "day_has_sums": "left out: daily totals of that day were imported before",
    "too_old": "left out: older than the retention period (ANALYTICS_KEEP_DAYS)",
    "too_new": "left out: in the future",
    "too_late": "left out: today, or not before --until",
    "other_host": "left out: not of the host in --host",
    "unreadable": "lines that could not be parsed",
    "no_page": "lines that are not page views",
    "bot": "lines of crawlers",
}


class Command(BaseCommand):
    help = (
        "Import the visits of one site from another tool. An interrupted import continues when it is run "
        "again; a second run adds nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("subdomain")
        parser.add_argument(
            "files", nargs="+", type=Path, help="CSV or log files, also .gz, and .zip of an export."
        )
        parser.add_argument("--from", dest="source", required=True, choices=["plausible", "umami", "log"])
        parser.add_argument(
            "--host",
            default="",
            help=(
                "The earlier host of the site. Links within it are no traffic source. "
                "Visits of other hosts are left out."
            ),
        )
        parser.add_argument(
            "--name", default="", help="Name of the server that wrote the logs, if there are several servers."
        )
        parser.add_argument(
            "--until",
            type=date.fromisoformat,
            help="Import only days before this day. Use the day on which counting began here.",
        )

    def handle(self, *args: Any, subdomain: str, files: list[Path], source: str, **options: Any) -> None:
        with tenancy.context(tenancy.SYSTEM):
            site = Site.objects.alive().filter(subdomain=subdomain).first()
        if site is None:
            raise CommandError(f"There is no site {subdomain!r}.")
        if missing := [str(path) for path in files if not path.is_file()]:
            raise CommandError(f"Not a file: {', '.join(missing)}")
        target = _build_target(
            site,
            host=options["host"],
            server_name=options["name"],
            until=options["until"],
            now=timezone.now(),
        )
        with site_lock(site.number):
            self._import_files(target, source, files, quiet=options["verbosity"] == 0)
        while rollups.rebuild_dirty_days():
            pass
        outcomes: dict[str, Any] = dict(target.outcomes)
        with tenancy.context(tenancy.SYSTEM):
            record("analytics.imported", actor=actors.SYSTEM, subject=site, source=source, **outcomes)
        for name, count in target.outcomes.most_common():
            self.stdout.write(f"{count:>10,} {OUTCOME_LABELS[name]}")

    def _import_files(self, target: ImportTarget, source: str, files: list[Path], *, quiet: bool) -> None:
        sums: plausible.Sums = {}
        parsed_days: set[tuple[str, date]] = set()
        members = [member for path in files for member in _list_members(path)]
        with Progress(console=Console(stderr=True), disable=quiet) as progress:
            for path, name in members:
                with _open_member(path, name, progress) as lines:
                    if source == "plausible":
                        _parse_plausible_file(name or path.name, lines, sums, parsed_days)
                    elif source == "umami":
                        add_events(target, umami.parse_umami_csv(target, lines))
                    else:
                        add_events(target, access_log.parse_access_log(target, lines))
        if source == "plausible":
            if not any(dimension == "" for _, dimension, _ in sums):
                raise CommandError("No file is named imported_visitors….csv, so there are no days to import.")
            plausible.store_sums(target, sums)


def _build_target(
    site: Site, *, host: str, server_name: str, until: date | None, now: datetime
) -> ImportTarget:
    """The target of an import with the time zone and the retention of its site."""
    with tenancy.context(tenancy.SYSTEM):
        keep_days = Settings.objects.filter(site=site).values_list("keep_days", flat=True).first()
    retention = settings.ANALYTICS_KEEP_FOR
    if keep_days:
        retention = min(retention, timedelta(days=keep_days))
    return ImportTarget(
        site.number,
        get_time_zones({site.number}).get(site.number, "UTC"),
        host or host_of(site.subdomain),
        now,
        retention,
        only_this_host=bool(host),
        server_name=server_name,
        until=until,
    )


def _parse_plausible_file(
    path: str, lines: IO[str], sums: plausible.Sums, parsed_days: set[tuple[str, date]]
) -> None:
    """Add a file to the sums if it is a table of an export. Raises CommandError."""
    table = plausible.parse_table_name(path)
    if not table:
        return
    try:
        plausible.add_table(table, lines, sums, parsed_days)
    except ValueError as error:
        raise CommandError(f"{table} is not a table of a Plausible export: {error}") from None


@contextmanager
def site_lock(site_number: int) -> Iterator[None]:
    """Prevent two imports of a site at once, which would both add events that the other has not stored yet.

    Raises CommandError.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('analytics import'), %s)", [site_number])
        if not cursor.fetchone()[0]:
            raise CommandError("Another import of this site is running.")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtext('analytics import'), %s)", [site_number])


def _list_members(path: Path) -> list[tuple[Path, str]]:
    """The path with an empty name, or for a zip archive the path with the name of each CSV or log file."""
    if path.suffix != ".zip":
        return [(path, "")]
    with zipfile.ZipFile(path) as archive:
        return [(path, name) for name in archive.namelist() if name.endswith((".csv", ".log"))]


@contextmanager
def _open_member(path: Path, name: str, progress: Progress) -> Iterator[IO[str]]:
    """The lines of a file, or of a file in an archive, with a progress bar of its bytes."""
    with progress.open(path, "rb", description=name or path.name) as file:
        if name:
            with zipfile.ZipFile(file) as archive, archive.open(name) as member:  # type: ignore[arg-type]
                yield io.TextIOWrapper(member, "utf-8", errors="replace", newline="")
        else:
            plain: Any = file
            if path.suffix == ".gz":
                plain = gzip.GzipFile(fileobj=file)  # type: ignore[arg-type]
            yield io.TextIOWrapper(plain, "utf-8", errors="replace", newline="")
