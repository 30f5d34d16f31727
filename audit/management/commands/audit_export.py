"""Export the audit trail together with the data that proves it, for verification outside this server."""

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from audit.chain.export import export_lines
from audit.services import record
from audit.subjects import Subject


class Command(BaseCommand):
    help = (
        "Write the audit trail of one site, of one person or of everything to a new file as JSON lines. "
        "An existing file is never overwritten."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--site", type=UUID, help="Export the entries of this site.")
        scope.add_argument("--owner", type=UUID, help="Export the entries of this user.")
        scope.add_argument("--all", action="store_true", help="Export every entry.")
        parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="The file to create.")

    def handle(self, *args: Any, site: UUID | None, owner: UUID | None, to: Path, **options: Any) -> None:
        record(
            "audit.exported",
            actor=SYSTEM,
            subject=Subject("audit", site or owner),
            scope="site" if site else "owner" if owner else "all",
        )
        count = 0
        try:
            with to.open("x", encoding="utf-8") as file:
                for line in export_lines(site=site, owner=owner):
                    file.write(line + "\n")
                    count += '"kind": "entry"' in line
        except FileExistsError:
            raise CommandError(f"{to} exists already.") from None
        except OSError as error:
            raise CommandError(f"{to} cannot be written: {error.strerror}.") from None
        self.stdout.write(f"{count} entries at {timezone.now():%Y-%m-%d %H:%M} UTC in {to}")
