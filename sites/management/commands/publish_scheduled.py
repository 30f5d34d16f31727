"""Run the periodic task `publish_scheduled` at once."""

from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from sites.services import publishing


class Command(BaseCommand):
    help = (
        "Carry out the scheduled publishes and unpublishes, and publish the scheduled posts, that are due. "
        "Safe to run at any time."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"done={publishing.publish_scheduled(now=timezone.now())}")
