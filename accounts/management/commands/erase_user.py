"""Erase a person at once and for good. Safe to repeat."""

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
        "Erase whoever has this address, now and for good: account, sites, and what is personal of them in the trail, which "
        "stays verifiable. Where there is no account, what is left of the address goes."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email")
        parser.add_argument("--dry-run", action="store_true", help="Only count.")
        parser.add_argument("--json", action="store_true", help="Print the result as JSON.")

    def handle(self, *args: Any, email: str, dry_run: bool, **options: Any) -> None:
        try:
            with transaction.atomic():
                gone = erasure.close_and_erase(normalise_email(email), actor=SYSTEM, now=timezone.now())
                transaction.set_rollback(dry_run)
        except LastAdmin as refusal:
            raise CommandError(refusal.message) from None
        if options["json"]:
            self.stdout.write(json.dumps({**gone, "dry_run": dry_run}))
        else:
            counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(gone.items()))
            self.stdout.write(f"{'would erase' if dry_run else 'erased'} {counts}")
