"""Verify the audit trail: exit 0 when it is whole, 1 with the first fault when it is not."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from audit.chain.verification import verify


def moment(text: str) -> datetime:
    """An ISO 8601 date or time; UTC when it names no zone."""
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = "Check every entry, seal, personal value and checkpoint of the audit trail; names the first fault."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=moment, help="From this moment on (ISO 8601).")
        parser.add_argument("--until", type=moment, help="Before this moment (ISO 8601).")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, since: datetime | None, until: datetime | None, **options: Any) -> None:
        verdict = verify(now=timezone.now(), since=since, until=until)
        if options["json"]:
            self.stdout.write(json.dumps({"good": verdict.good, **asdict(verdict)}))
        else:
            for warning in verdict.warnings:
                self.stdout.write(f"warning: {warning}")
            if verdict.fault:
                where = " ".join(
                    f"{name}={value}" for name, value in verdict.fault.items() if name not in {"kind", "why"}
                )
                self.stdout.write(f"FAULT {verdict.fault['kind']}: {verdict.fault['why']} ({where})")
            else:
                self.stdout.write(
                    f"good: {verdict.rows} entries, {verdict.checkpoints} checkpoints, {verdict.erased} values erased"
                )
        if not verdict.good:
            raise SystemExit(1)
