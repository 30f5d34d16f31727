"""Compare the counted bytes of every user with the stored rows, and correct them."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandParser

from core import quotas


class Command(BaseCommand):
    help = "Recompute the storage usage of every user from the stored rows, and list the users that differed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only list, do not correct")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        different = 0
        for user_id in get_user_model()._base_manager.order_by("pk").values_list("pk", flat=True):
            if difference := quotas.recount(user_id, dry_run=dry_run):
                counted, stored = difference
                self.stdout.write(f"user={user_id} counted={counted} stored={stored}")
                different += 1
        self.stdout.write(f"different={different} dry_run={dry_run}")
