"""`manage.py site_restore`: one site back, beside what is there now."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from backups.cli import BackupCommand, add_identity, moment
from backups.models import BackupRun, SiteRestore
from backups.services import runs
from backups.services.site_restores import bring_back, find_site
from core.errors import DomainError


class Command(BackupCommand):
    help = "Bring one site back as it was, as a new draft of its owner. What is there now stays as it is, and nobody else's is touched."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("site", help="Its subdomain, or its id, also of a site that is gone.")
        parser.add_argument(
            "--at",
            type=moment,
            required=True,
            help="The newest backup that was taken then or before, such as 2026-11-20T12:00Z.",
        )
        add_identity(parser)

    def handle(self, *args: Any, site: str, at: datetime, **options: Any) -> None:
        pk = find_site(site)
        if pk is None:
            raise CommandError(f"There is no site {site!r}. Name one that is gone by its id.")
        run = (
            BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None, taken_at__lte=at)
            .order_by("-taken_at")
            .first()
        )
        if run is None:
            raise CommandError("There is no backup of that moment or before.")
        asked = SiteRestore(site_id=pk, run=run, started_at=timezone.now(), status=SiteRestore.Status.RUNNING)
        with self.alone():
            asked.save()
            try:
                made = bring_back(asked, identities=tuple(options["identity"]))
            except BaseException as error:
                runs.fail(asked, str(error), now=timezone.now())
                if isinstance(error, DomainError):
                    raise CommandError(error.message) from None
                raise
        facts = {
            "site": made.pk,
            "subdomain": made.subdomain,
            "run": run.pk.hex,
            "taken_at": run.taken_at,
            "actor": SYSTEM.kind,
        }
        self.say(
            facts,
            f"{made.name}: a draft under {made.subdomain}, as of {run.taken_at:%Y-%m-%d %H:%M:%S} UTC",
            as_json=options["json"],
        )
