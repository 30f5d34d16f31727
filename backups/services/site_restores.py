"""One site back to a moment, as a new draft beside what is there now."""

import secrets
from datetime import datetime, timedelta
from uuid import UUID

import structlog
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
from backups.services.runs import FRESH, REFUSALS, claim, fail, queue_run, reason_of
from core import tenancy
from core.errors import DomainError
from core.jobs import queue
from sites.models import Access, Site
from sites.services.sites import changed, check_room, lock_owner

MOST_A_DAY = 10
NAME = 120  # of a site, as its column has it

log = structlog.get_logger(__name__)


def restore_points(site: Site) -> QuerySet[BackupRun]:
    """The moments that a site can be brought back to, newest first."""
    good = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None)
    return good.filter(taken_at__gte=site.created_at).order_by("-id")


@transaction.atomic
def ask_for_point(*, site_id: UUID, actor: Actor, now: datetime) -> BackupRun:
    """A moment to come back to, of now: the backup that waits, a fresh one, or a new one."""
    record("restore_point.asked", actor=actor, subject=Subject("site", site_id, site_id=site_id))
    fresh = BackupRun.objects.filter(
        created_at__gt=now - FRESH, status__in=[*BackupRun.OPEN, BackupRun.Status.DONE]
    ).first()
    return fresh or queue_run(actor=actor)


@transaction.atomic
def queue_restore(site_id: UUID, run: BackupRun, *, actor: Actor) -> SiteRestore:
    """Ask for a site to be brought back.

    Raises NotRestorable, KeyElsewhere, RestoreUnderWay, TooManyRestores.
    """
    if run.status != BackupRun.Status.DONE or run.pruned_at:
        raise NotRestorable
    if not config.readable():
        raise KeyElsewhere
    lately = SiteRestore.objects.filter(site_id=site_id, created_at__gt=timezone.now() - timedelta(days=1))
    if lately.count() >= MOST_A_DAY:
        raise TooManyRestores
    try:
        with transaction.atomic():
            asked = SiteRestore.objects.create(site_id=site_id, run=run)
    except IntegrityError:
        raise RestoreUnderWay from None
    record("site_restore.queued", actor=actor, subject=asked, run=run.pk)
    queue.enqueue("backups.tasks.work")
    return asked


def do_restore(asked: SiteRestore) -> SiteRestore:
    """Do a queued restore, as whoever works. What stands against it is in the row afterwards."""
    if not claim(asked, now=timezone.now()):
        return asked
    try:
        bring_back(asked)
    except (*REFUSALS, DomainError) as refusal:
        fail(
            asked,
            str(refusal) if isinstance(refusal, DomainError) else reason_of(refusal),
            now=timezone.now(),
        )
    return asked


def bring_back(asked: SiteRestore, *, identities: tuple[bytes, ...] = ()) -> Site:
    """Make the site anew as the run has it.

    Raises Refused, Damaged, KeyMissing, TooManySites, what the store raises.
    """
    repository = config.repository(identities=identities)
    manifest = repository.manifest(asked.run.name)
    reader = repository.reader(manifest)
    with site_import.fetched(manifest, reader, asked.site_id) as rows, tenancy.context(tenancy.SYSTEM):
        job = site_import.SiteImport(manifest, rows)
        job.stage()
        owner = _owner(asked.site_id, job)
        name, subdomain = job.site_then()
        new = job.rename()
        moment = datetime.fromisoformat(manifest.at)
        suffix = f" ({moment:%Y-%m-%d %H:%M} UTC)"
        job.change_site(
            name=name[: NAME - len(suffix)] + suffix,
            subdomain=f"{subdomain[:50].rstrip('-')}-{secrets.token_hex(4)}",
            status=Site.Status.DRAFT,
            live_release_id=None,
            deleted_at=None,
            owner_id=owner,
            version=1,
        )
        Access.objects.create(site_id=new, user_id=owner, role=Access.Role.OWNER)
        counts = job.insert(anew={"number"})
        site = Site.objects.get(pk=new)
        asked.status = SiteRestore.Status.DONE
        asked.finished_at = timezone.now()
        asked.made = site
        asked.save(update_fields=["status", "finished_at", "made"])
        record(
            "site.brought_back",
            actor=SYSTEM,
            subject=site,
            of=asked.site_id,
            run=asked.run_id,
            rows=sum(counts.values()),
        )
        changed(site)
    return site


def _owner(site_id: UUID, job: site_import.SiteImport) -> UUID:
    """Whose it is now, or where it is gone, whose it was.

    Locked, with room for one more. Raises Refused, TooManySites.
    """
    now = Site.objects.get_queryset().filter(pk=site_id).values_list("owner_id", flat=True).first()
    owner: UUID = now or job.owner_then()
    if not User.objects.alive().filter(pk=owner).exists():
        raise BackupRefused("The account of its owner is closed.")
    lock_owner(owner)
    check_room(owner)
    return owner


def find_site(text: str) -> UUID | None:
    """A site by its id, which need not exist any more, or by the subdomain of one that does."""
    try:
        return UUID(text)
    except ValueError:
        with tenancy.context(tenancy.SYSTEM):
            return Site.objects.get_queryset().filter(subdomain=text).values_list("pk", flat=True).first()
