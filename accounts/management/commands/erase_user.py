"""Erase a user permanently and at once. Safe to repeat."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction
from django.utils import timezone

from accounts.errors import LastAdmin
from accounts.models import normalise_email
from accounts.services import erasure
from audit.actors import SYSTEM


class Command(BaseCommand):
    help = (
        "Erase the user with this e-mail address permanently: account, sites, and personal values in the "
        "audit log, which stays verifiable. Without an account, erase what else contains the address."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would be erased, and erase nothing."
        )
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, email: str, dry_run: bool, **options: Any) -> None:
        try:
            with transaction.atomic():
                counts = erasure.close_and_erase(normalise_email(email), actor=SYSTEM, now=timezone.now())
                transaction.set_rollback(dry_run)
        except LastAdmin as refusal:
            raise CommandError(refusal.message) from None
        if options["json"]:
            self.stdout.write(json.dumps({**counts, "dry_run": dry_run}))
        else:
            parts = [f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items())]
            self.stdout.write(f"{'would erase' if dry_run else 'erased'} {', '.join(parts)}")
