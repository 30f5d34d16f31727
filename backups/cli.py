"""What the commands of backups share: arguments, a progress bar, answers for people and for machines, and
exit codes.
"""

import json
from argparse import ArgumentTypeError
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import Progress

from backups.engine.errors import Damaged, KeyMissing
from backups.models import BackupRun
from backups.services import runs
from backups.services.runs import REFUSALS, Told, reason_of

# Beside Django's 1 for everything else, so that a script can tell what to do.
DAMAGED = 3
NO_KEY = 4
BUSY = 5


class BackupCommand(BaseCommand):
    """A command whose refusals are one line and an exit code: 1 refused, 3 what is stored is damaged, 4 the
    key is missing, 5 another is at work.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def execute(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute(*args, **options)
        except Damaged as fault:
            raise CommandError(str(fault), returncode=DAMAGED) from None
        except KeyMissing as fault:
            raise CommandError(str(fault), returncode=NO_KEY) from None
        except REFUSALS as refusal:
            raise CommandError(reason_of(refusal)) from None

    def say(self, facts: dict[str, Any], text: str, *, as_json: bool) -> None:
        self.stdout.write(json.dumps(facts, default=str) if as_json else text)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The right to work. Raises CommandError where the worker, or another command, has it."""
        with runs.runner() as mine:
            if not mine:
                raise CommandError(
                    "Another backup, check or restore is at work. Try again when it is done.", returncode=BUSY
                )
            yield


@contextmanager
def bar(label: str, *, quiet: bool) -> Iterator[Told]:
    """A progress bar on a terminal, and nothing elsewhere."""
    console = Console(stderr=True)
    with Progress(console=console, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def moment(text: str) -> datetime:
    """A moment in ISO 8601; without an offset it is UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a moment such as 2026-11-20T12:00Z") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def identity(text: str) -> bytes:
    """The private key in a file, as `backup_keys new --recipient` wrote it."""
    try:
        found = b64decode(Path(text).read_text().strip(), validate=True)
    except (OSError, ValueError) as error:
        raise ArgumentTypeError(f"{text}: {error}") from None
    if len(found) != 32:
        raise ArgumentTypeError(f"{text} has no private key of 32 bytes in base64")
    return found


def add_identity(parser: CommandParser) -> None:
    parser.add_argument(
        "--identity",
        type=identity,
        action="append",
        default=[],
        metavar="FILE",
        help="A file with the private key of a recipient. May come more than once.",
    )


def add_run(parser: CommandParser) -> None:
    parser.add_argument("--run", help="Which backup: its id. Default: the newest.")


def run_of(text: str | None, *, provable: bool = False) -> BackupRun:
    """A good run by its id, or the newest, or the newest that can be proven. Raises CommandError."""
    good = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None).order_by("-taken_at")
    if provable and text is None:
        good = good.filter(provable=True)
    found = next((run for run in good if text in {None, run.pk.hex, str(run.pk)}), None)
    if found is None:
        raise CommandError("There is no such backup." if text else "There is no backup yet.")
    return found


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:,.0f} {unit}" if unit == "B" else f"{count:,.1f} {unit}"
        count /= 1024
    return f"{count:,.1f} TiB"
