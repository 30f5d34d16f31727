"""Verify the audit trail.

Exits with 0 when it is intact, with 1 after printing the first fault, with 2 for wrong arguments, and with 3
when there is no entry to verify.
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from audit.chain.verification import VerificationResult, verify_trail

NOTHING_VERIFIED = 3  # exit code


def parse_date_or_time(text: str) -> datetime:
    """Parse an ISO 8601 date or time. Without an offset it is UTC. Raises ValueError."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = "Verify every entry, seal, personal value and checkpoint of the audit trail."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since",
            type=parse_date_or_time,
            help="Verify entries created at this time or later (ISO 8601).",
        )
        parser.add_argument(
            "--until", type=parse_date_or_time, help="Verify entries created before this time (ISO 8601)."
        )
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, since: datetime | None, until: datetime | None, **options: Any) -> None:
        if since and until and since >= until:
            raise CommandError("--since must be before --until.", returncode=2)
        result = verify_trail(now=timezone.now(), since=since, until=until)
        if options["json"]:
            self.stdout.write(
                json.dumps({"good": result.good and not result.nothing_verified, **asdict(result)})
            )
        else:
            self._print(result)
        if result.fault:
            raise SystemExit(1)
        if result.nothing_verified:
            raise SystemExit(NOTHING_VERIFIED)

    def _print(self, result: VerificationResult) -> None:
        for warning in result.warnings:
            self.stdout.write(f"warning: {warning}")
        if result.nothing_verified:
            self.stdout.write("Nothing was verified: there is no sealed entry in this range.")
            return
        if not result.fault:
            counts = f"{result.rows} entries, {result.checkpoints} checkpoints, {result.erased} values erased"
            self.stdout.write(f"good: {counts}")
            return
        location = " ".join(
            f"{name}={value}" for name, value in result.fault.items() if name not in {"kind", "why"}
        )
        self.stdout.write(f"FAULT {result.fault['kind']}: {result.fault['why']} ({location})")
