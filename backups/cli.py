"""Shared parts of the backup commands: arguments, progress bar, output and exit codes."""

import json
import re
from argparse import ArgumentTypeError
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.progress import Progress

from backups.engine.encryption import KEY_BYTES
from backups.engine.errors import Damaged, KeyMissing
from backups.models import BackupRun
from backups.services import runs
from backups.services.runs import EXPECTED_ERRORS, ProgressCallback, describe_error

# Scripts can tell these cases apart; every other error exits with Django's 1.
EXIT_DAMAGED = 3
EXIT_KEY_MISSING = 4
EXIT_BUSY = 5
DATE_PATTERN = re.compile(r"\d{4}-?\d\d-?\d\d")


class BackupCommand(BaseCommand):
    """A command that reports an expected error as one line and an exit code.

    1: refused, 3: a stored object is damaged, 4: the key is missing, 5: another process holds the worker
    lock.
    """

    def create_parser(self, *args: Any, **options: Any) -> CommandParser:
        """Return the parser. A wrong argument is reported in one line, without the usage of the command."""
        parser = super().create_parser(*args, **options)
        parser.print_usage = lambda file=None: None  # type: ignore[method-assign]
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except Damaged as error:
            raise CommandError(str(error), returncode=EXIT_DAMAGED) from None
        except KeyMissing as error:
            raise CommandError(str(error), returncode=EXIT_KEY_MISSING) from None
        except EXPECTED_ERRORS as error:
            raise CommandError(describe_error(error)) from None

    def write_result(self, result: dict[str, Any], text: str, *, as_json: bool) -> None:
        """Print `result` as JSON, or `text`."""
        self.stdout.write(json.dumps(result, default=str) if as_json else text)

    @contextmanager
    def hold_worker_lock(self, lock_id: int = runs.WORKER_LOCK_ID) -> Iterator[None]:
        """Hold the lock that allows one backup job at a time. Raises CommandError when it is taken."""
        with runs.worker_lock(lock_id) as acquired:
            if not acquired:
                raise CommandError(
                    "Another backup, verification or restore is running. Try again when it is done.",
                    returncode=EXIT_BUSY,
                )
            yield


@contextmanager
def progress_bar(label: str, *, quiet: bool) -> Iterator[ProgressCallback]:
    """Show a progress bar on a terminal, and nothing elsewhere. Yields the callback that updates it."""
    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def parse_datetime(text: str) -> datetime:
    """Parse a time in ISO 8601. A time without an offset is UTC, and a date is the end of that day.

    Raises ArgumentTypeError.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a time such as 2026-11-20T12:00Z, or a date") from None
    if DATE_PATTERN.fullmatch(text):
        parsed += timedelta(days=1) - timedelta(microseconds=1)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def parse_database_url(text: str) -> str:
    """Return the URL of a database. Raises ArgumentTypeError."""
    if not text.startswith(("postgresql://", "postgres://")):
        raise ArgumentTypeError("the target must be a URL such as postgresql://user:password@host/database")
    try:
        parts = conninfo_to_dict(text)
    except psycopg.ProgrammingError:  # its message may repeat a part of the password
        raise ArgumentTypeError("the URL of the target is wrong") from None
    if not parts.get("dbname"):
        raise ArgumentTypeError("the URL of the target does not name a database")
    return text


def load_identity_file(path: str) -> bytes:
    """Return the private key that `backup_keys add-recipient` wrote to a file. Raises ArgumentTypeError."""
    try:
        private_key = b64decode(Path(path).read_text().strip(), validate=True)
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{path}: {error}") from None
    if len(private_key) != KEY_BYTES:
        raise ArgumentTypeError(f"{path} has no private key of 32 bytes in base64")
    return private_key


def add_identity_argument(parser: CommandParser) -> None:
    parser.add_argument(
        "--identity",
        type=load_identity_file,
        action="append",
        default=[],
        metavar="FILE",
        help="A file with the private key of a recipient. May be repeated.",
    )


def add_run_argument(parser: CommandParser) -> None:
    parser.add_argument("--run", help="The id of the backup. Default: the newest.")


def find_restorable_run(run_id: str | None, *, provable: bool = False) -> BackupRun:
    """Return the restorable backup with this id, or the newest one. Raises CommandError.

    With `provable` and no id, it is the newest one whose content can be compared.
    """
    restorable = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None).order_by("-taken_at")
    if provable and run_id is None:
        restorable = restorable.filter(provable=True)
    run = next((run for run in restorable if run_id in {None, run.pk.hex, str(run.pk)}), None)
    if run is None:
        raise CommandError("There is no such backup." if run_id else "There is no backup yet.")
    return run


def format_bytes(count: float) -> str:
    """Return a size such as `12.5 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
