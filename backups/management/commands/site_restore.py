"""`manage.py site_restore`: restore one site as a new draft."""

from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from audit.actors import SYSTEM
from backups.cli import BackupCommand, add_identity_argument, parse_datetime
from backups.models import BackupRun, SiteRestore
from backups.services import runs
from backups.services.site_restores import copy_site_from_backup, find_site_id
from core.errors import DomainError
from sites.models import Site


class Command(BackupCommand):
    help = (
        "Restore one site as a new draft of its owner. The existing site and all other sites are unchanged."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("site", help="The subdomain of the site, or its id. A deleted site needs the id.")
        parser.add_argument(
            "--at",
            type=parse_datetime,
            required=True,
            help="Use the newest backup at or before this time, such as 2026-11-20T12:00Z, or of this day.",
        )
        add_identity_argument(parser)

    def handle(self, *args: Any, site: str, at: datetime, **options: Any) -> None:
        site_id = find_site_id(site)
        if site_id is None:
            raise CommandError(f"There is no site {site!r}. Use its id if it was deleted.")
        run = (
            BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None, taken_at__lte=at)
            .order_by("-taken_at")
            .first()
        )
        if run is None:
            raise CommandError("There is no backup at or before that time.")
        site_restore = SiteRestore(
            site_id=site_id, run=run, started_at=timezone.now(), status=SiteRestore.Status.RUNNING
        )
        with self.hold_worker_lock(runs.RESTORE_LOCK_ID):
            draft = self._restore(site_restore, identities=tuple(options["identity"]))
        result = {
            "site": draft.pk,
            "subdomain": draft.subdomain,
            "run": run.pk.hex,
            "taken_at": run.taken_at,
            "actor": SYSTEM.kind,
        }
        self.write_result(
            result,
            f"{draft.name}: a draft at {draft.subdomain}, as of {run.taken_at:%Y-%m-%d %H:%M:%S} UTC",
            as_json=options["json"],
        )

    def _restore(self, site_restore: SiteRestore, *, identities: tuple[bytes, ...]) -> Site:
        """Save the row and restore the site. Any error is recorded in the row before it is raised."""
        site_restore.save()
        try:
            return copy_site_from_backup(site_restore, for_owner=False, identities=identities)
        except BaseException as error:
            runs.mark_failed(site_restore, str(error), now=timezone.now())
            if isinstance(error, DomainError):
                raise CommandError(error.message) from None
            raise
