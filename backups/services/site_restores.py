"""Restoring one site from a backup, as a new draft beside the existing site."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet, Subquery
from django.utils import timezone

from accounts.models import User
from audit.actors import SYSTEM, Actor
from audit.services import record
from audit.subjects import Subject
from backups import config, site_import
from backups.engine.errors import BackupRefused
from backups.errors import (
    KeyElsewhere,
    NotRestorable,
    RestorePointLater,
    RestoreUnderWay,
    TooManyRestores,
)
from backups.models import BackupRun, SiteRestore
from backups.services.runs import (
    EXPECTED_ERRORS,
    RESTORE_LOCK_ID,
    claim_job,
    describe_error,
    fail_interrupted_jobs,
    mark_failed,
    next_run_time,
    queue_run,
    worker_lock,
)
from core import tenancy
from core.errors import DomainError
from core.jobs import queue
from sites.models import Access, Site
from sites.services.quotas import require_room_for_site
from sites.services.sites import check_site_limit, invalidate_site_responses, lock_owner

RESTORE_LIMIT_PER_DAY = 10
COMMIT_MARGIN = timedelta(seconds=10)  # longer than a request's transaction
SITE_NAME_MAX_LENGTH = 120  # of the column
SUBDOMAIN_STEM_MAX_LENGTH = 50  # leaves room for the random suffix


def restore_points(site: Site) -> QuerySet[BackupRun]:
    """Return the backups that the owner can restore a site from, newest first.

    Only those that were taken since the present owner became the owner: an earlier one may hold what a former
    owner deleted.
    """
    restorable = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None)
    return restorable.filter(taken_at__gte=_owner_since(site.pk)).order_by("-id")


def restores_of(site: Site) -> QuerySet[SiteRestore]:
    """Return the restores of a site that its present owner asked for."""
    return SiteRestore.objects.filter(site_id=site.pk, created_at__gte=_owner_since(site.pk))


def _owner_since(site_id: UUID) -> Subquery:
    """Return the expression for the time when the present owner became the owner."""
    return Subquery(Access.objects.filter(site_id=site_id, role=Access.Role.OWNER).values("role_since"))


@transaction.atomic
def request_restore_point(*, site_id: UUID, actor: Actor, now: datetime) -> BackupRun:
    """Return a backup that has the site as it is now: the newest one, or one that has not begun.

    All owners together start at most one backup per BACKUP_EVERY. Raises RestorePointLater.
    """
    last_change = site_import.last_change_of(site_id)
    newest = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None).order_by("-taken_at")
    record("restore_point.asked", actor=actor, subject=Subject("site", site_id, site_id=site_id))
    # A change is visible only when its transaction commits, which is later than the time in its row.
    if run := newest.filter(taken_at__gt=last_change + COMMIT_MARGIN).first():
        return run
    if run := BackupRun.objects.filter(status=BackupRun.Status.QUEUED).first():
        return run
    requested = BackupRun.objects.filter(requested_by_owner=True).order_by("-created_at").first()
    if requested and requested.created_at > now - settings.BACKUP_EVERY:
        raise RestorePointLater(next_run_time())
    return queue_run(actor=actor, requested_by_owner=True)


@transaction.atomic
def queue_site_restore(site_id: UUID, run: BackupRun, *, actor: Actor) -> SiteRestore:
    """Queue the restore of a site.

    Raises NotRestorable, KeyElsewhere, RestoreUnderWay, TooManyRestores.
    """
    if run.status != BackupRun.Status.DONE or run.pruned_at:
        raise NotRestorable
    if not config.can_decrypt_backups():
        raise KeyElsewhere
    day_ago = timezone.now() - timedelta(days=1)
    if SiteRestore.objects.filter(site_id=site_id, created_at__gt=day_ago).count() >= RESTORE_LIMIT_PER_DAY:
        raise TooManyRestores
    try:
        with transaction.atomic():
            site_restore = SiteRestore.objects.create(site_id=site_id, run=run)
    except IntegrityError:
        raise RestoreUnderWay from None
    record("site_restore.queued", actor=actor, subject=site_restore, run=run.pk)
    queue.enqueue("backups.tasks.run_site_restores")
    return site_restore


def run_pending_site_restores(*, now: datetime) -> int:
    """Run all queued restores. Returns their number; 0 when another process works on them."""
    with worker_lock(RESTORE_LOCK_ID) as acquired:
        if not acquired:
            return 0
        fail_interrupted_jobs(SiteRestore, now=now)
        count = 0
        queued = SiteRestore.objects.filter(status=SiteRestore.Status.QUEUED).order_by("pk")
        while site_restore := queued.first():
            _run_site_restore(site_restore)
            count += 1
        return count


def _run_site_restore(site_restore: SiteRestore) -> None:
    """Run a queued restore. An error is saved in the row."""
    if not claim_job(site_restore, now=timezone.now()):
        return
    try:
        copy_site_from_backup(site_restore, for_owner=True)
    except DomainError as error:
        mark_failed(site_restore, str(error), now=timezone.now())
    except EXPECTED_ERRORS as error:
        mark_failed(site_restore, describe_error(error), now=timezone.now())


def copy_site_from_backup(
    site_restore: SiteRestore, *, for_owner: bool, identities: tuple[bytes, ...] = ()
) -> Site:
    """Create a new draft with the content that the site had at the time of the backup.

    `for_owner` refuses a backup that is older than the ownership of the present owner. An operator may
    restore any. Raises BackupRefused, Damaged, KeyMissing, TooManySites, QuotaExceeded,
    ObjectStoreUnavailable.
    """
    repository = config.repository(identities=identities)
    manifest = repository.load_manifest(site_restore.run.name)
    reader = repository.pack_reader(manifest)
    with (
        site_import.extract_site_rows(manifest, reader, site_restore.site_id) as row_files,
        tenancy.context(tenancy.SYSTEM),
    ):
        taken_at = datetime.fromisoformat(manifest.taken_at)
        if for_owner:
            _ensure_owner_had_site(site_restore.site_id, taken_at)
        job = site_import.SiteImport(manifest, row_files)
        job.stage_rows()
        owner_id = _lock_owner_of(site_restore.site_id, job)
        name, subdomain = job.stored_name_and_subdomain()
        new_site_id = job.assign_new_ids()
        name_suffix = f" ({taken_at:%Y-%m-%d %H:%M} UTC)"
        subdomain_stem = subdomain[:SUBDOMAIN_STEM_MAX_LENGTH].rstrip("-")
        job.update_site(
            name=name[: SITE_NAME_MAX_LENGTH - len(name_suffix)] + name_suffix,
            subdomain=f"{subdomain_stem}-{secrets.token_hex(4)}",
            status=Site.Status.DRAFT,
            live_release_id=None,
            deleted_at=None,
            owner_id=owner_id,
            version=1,
        )
        Access.objects.create(site_id=new_site_id, user_id=owner_id, role=Access.Role.OWNER)
        row_counts = job.insert_rows(defaulted_site_columns={"number"})
        site = Site.objects.get(pk=new_site_id)
        require_room_for_site(site)
        _finish(site_restore, site, rows=sum(row_counts.values()))
        invalidate_site_responses(site)
    return site


def _finish(site_restore: SiteRestore, site: Site, *, rows: int) -> None:
    site_restore.status = SiteRestore.Status.DONE
    site_restore.finished_at = timezone.now()
    site_restore.made = site
    site_restore.save(update_fields=["status", "finished_at", "made"])
    record(
        "site.brought_back",
        actor=SYSTEM,
        subject=site,
        of=site_restore.site_id,
        run=site_restore.run_id,
        rows=rows,
    )


def _ensure_owner_had_site(site_id: UUID, taken_at: datetime) -> None:
    """Raise BackupRefused unless the present owner was the owner at `taken_at`.

    The row is locked, so that the site is not transferred before the draft exists.
    """
    owners = Access.objects.select_for_update(of=("self",)).filter(site_id=site_id, role=Access.Role.OWNER)
    access = owners.first()
    if access is None or access.role_since > taken_at:
        raise BackupRefused("The site has had another owner since that moment.")


def _lock_owner_of(site_id: UUID, job: site_import.SiteImport) -> UUID:
    """Return the current owner of the site, or the owner in the backup when the site was deleted.

    Locks the owner's row and checks the limit of sites. Raises BackupRefused, TooManySites.
    """
    current = Site.objects.get_queryset().filter(pk=site_id).values_list("owner_id", flat=True).first()
    owner_id: UUID = current or job.stored_owner_id()
    if not User.objects.alive().filter(pk=owner_id).exists():
        raise BackupRefused("The account of its owner is closed.")
    lock_owner(owner_id)
    check_site_limit(owner_id)
    return owner_id


def find_site_id(text: str) -> UUID | None:
    """Parse the id of a site, which may be deleted, or look up the id of an existing site by subdomain."""
    try:
        return UUID(text)
    except ValueError:
        with tenancy.context(tenancy.SYSTEM):
            return Site.objects.get_queryset().filter(subdomain=text).values_list("pk", flat=True).first()
