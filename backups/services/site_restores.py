"""Restoring one site from a backup, as a new draft beside the existing site."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from audit.actors import SYSTEM, Actor
from audit.services import record
from audit.subjects import Subject
from backups import config, site_import
from backups.engine.errors import BackupRefused
from backups.errors import KeyElsewhere, NotRestorable, RestoreUnderWay, TooManyRestores
from backups.models import BackupRun, SiteRestore
from backups.services.runs import (
    EXPECTED_ERRORS,
    RESTORE_POINT_MAX_AGE,
    claim_job,
    describe_error,
    mark_failed,
    queue_run,
)
from core import tenancy
from core.errors import DomainError
from core.jobs import queue
from sites.models import Access, Site
from sites.services.sites import check_site_limit, invalidate_site_responses, lock_owner

RESTORE_LIMIT_PER_DAY = 10
SITE_NAME_MAX_LENGTH = 120  # of the column
SUBDOMAIN_STEM_MAX_LENGTH = 50  # leaves room for the random suffix


def restore_points(site: Site) -> QuerySet[BackupRun]:
    """Return the backups that a site can be restored from, newest first."""
    restorable = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None)
    return restorable.filter(taken_at__gte=site.created_at).order_by("-id")


@transaction.atomic
def request_restore_point(*, site_id: UUID, actor: Actor, now: datetime) -> BackupRun:
    """Return an open or recent backup, or queue a new one."""
    record("restore_point.asked", actor=actor, subject=Subject("site", site_id, site_id=site_id))
    recent = BackupRun.objects.filter(
        created_at__gt=now - RESTORE_POINT_MAX_AGE, status__in=[*BackupRun.OPEN, BackupRun.Status.DONE]
    ).first()
    return recent or queue_run(actor=actor)


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
    queue.enqueue("backups.tasks.run_pending_jobs")
    return site_restore


def run_site_restore(site_restore: SiteRestore) -> SiteRestore:
    """Run a queued restore while the caller holds the worker lock. An error is saved in the row."""
    if not claim_job(site_restore, now=timezone.now()):
        return site_restore
    try:
        copy_site_from_backup(site_restore)
    except DomainError as error:
        mark_failed(site_restore, str(error), now=timezone.now())
    except EXPECTED_ERRORS as error:
        mark_failed(site_restore, describe_error(error), now=timezone.now())
    return site_restore


def copy_site_from_backup(site_restore: SiteRestore, *, identities: tuple[bytes, ...] = ()) -> Site:
    """Create a new draft with the content that the site had at the time of the backup.

    Raises BackupRefused, Damaged, KeyMissing, TooManySites, ObjectStoreUnavailable.
    """
    repository = config.repository(identities=identities)
    manifest = repository.load_manifest(site_restore.run.name)
    reader = repository.pack_reader(manifest)
    with (
        site_import.extract_site_rows(manifest, reader, site_restore.site_id) as row_files,
        tenancy.context(tenancy.SYSTEM),
    ):
        job = site_import.SiteImport(manifest, row_files)
        job.stage_rows()
        owner_id = _lock_owner_of(site_restore.site_id, job)
        name, subdomain = job.stored_name_and_subdomain()
        new_site_id = job.assign_new_ids()
        taken_at = datetime.fromisoformat(manifest.taken_at)
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
