"""Do now what beat does every ten seconds."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from sites.services import publishing


class Command(BaseCommand):
    help = "Carry out planned publishes and unpublishes that are due, and show posts whose time has come. Safe to run at any time."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"done={publishing.publish_scheduled(now=timezone.now())}")
