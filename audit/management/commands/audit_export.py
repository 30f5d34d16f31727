"""Export the audit trail with its proofs, for whoever must verify it without us."""

from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from audit.chain.export import export
from audit.services import record
from audit.subjects import Subject


class Command(BaseCommand):
    help = "Write the audit trail of a site, of a person or of everything as JSON lines; never over an existing file."

    def add_arguments(self, parser: CommandParser) -> None:
        scope = parser.add_mutually_exclusive_group(required=True)
        scope.add_argument("--site", type=UUID)
        scope.add_argument("--owner", type=UUID)
        scope.add_argument("--all", action="store_true")
        parser.add_argument("--to", type=Path, required=True, metavar="FILE")

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
                for line in export(site=site, owner=owner):
                    file.write(line + "\n")
                    count += '"kind": "entry"' in line
        except FileExistsError:
            raise CommandError(f"{to} exists already.") from None
        self.stdout.write(f"{count} entries at {timezone.now():%Y-%m-%d %H:%M} UTC in {to}")
