"""Sites: made, changed, hidden, purged. Callers are in a tenancy context that sees the site."""

from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet

from accounts.models import User
from audit.actors import SYSTEM, Actor
from audit.services import record
from core import tenancy
from core.admission import cached_responses
from core.errors import NotFound
from core.http.preconditions import IfMatch
from sites.blueprint import schema
from sites.blueprint.site_templates import empty_blueprint, site_templates
from sites.errors import NotDeleted, SubdomainTaken, TooManySites
from sites.models import Access, Draft, Site
from sites.services.drafts import compact, keep_revision
from sites.serving import change_stream
from sites.subdomains import host_of

MAX_SITES = 200  # for one owner, hidden ones included


@transaction.atomic
def create_site(
    *, actor: Actor, owner_id: UUID, name: str, subdomain: str, template: str | None = None
) -> Site:
    """A new site with its draft. The owner's access row comes first, so that the policies let the rest in.

    Raises SubdomainTaken, TooManySites.
    """
    lock_owner(owner_id)
    check_room(owner_id)
    site = Site(owner_id=owner_id, name=name, subdomain=subdomain)
    Access.objects.create(site_id=site.pk, user_id=owner_id, role=Access.Role.OWNER)
    try:
        with transaction.atomic():
            site.save(force_insert=True)
    except IntegrityError:
        raise SubdomainTaken from None
    document = site_templates()[template].blueprint if template else empty_blueprint(name)
    site.draft = Draft.objects.create(site=site, blueprint=schema.validate(document), author_id=owner_id)
    keep_revision(site.draft, compact(site.draft.blueprint))
    record("site.created", actor=actor, subject=site, personal={"subdomain": subdomain}, template=template)
    changed(site)
    return site


def check_room(owner_id: UUID) -> None:
    """Whether a person, locked, may own one more. Raises TooManySites."""
    if Access.objects.filter(user_id=owner_id, role=Access.Role.OWNER).count() >= MAX_SITES:
        raise TooManySites


def lock_owner(owner_id: UUID) -> None:
    """Hold the owner's row: two creations cannot step over the limit together, nor one slip behind a
    deletion.

    Raises NotFound when the account is closed.
    """
    if not User.objects.alive().select_for_update(no_key=True).filter(pk=owner_id).first():
        raise NotFound


@transaction.atomic
def change_site(site: Site, changes: dict[str, Any], *, actor: Actor, if_match: IfMatch) -> Site:
    """Change name or subdomain; a live site moves with its subdomain.

    Raises PreconditionFailed, SubdomainTaken.
    """
    site = locked(site)
    if_match.require_match(site.version)
    before = site.subdomain
    told = {"name_before": site.name} if "name" in changes else {}
    for name, value in changes.items():
        setattr(site, name, value)
    site.version += 1
    try:
        with transaction.atomic():
            site.save(update_fields=[*changes, "version", "updated_at"])
    except IntegrityError:
        raise SubdomainTaken from None
    moved = before != site.subdomain
    if moved:
        told |= {"subdomain_before": before, "subdomain_after": site.subdomain}
    record("site.changed", actor=actor, subject=site, personal=told, fields=sorted(changes))
    if moved:
        change_stream.announce(site, host_of(before))
        change_stream.announce(site, host_of(site.subdomain))
    changed(site)
    return site


@transaction.atomic
def delete_site(site: Site, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Hide a site at once everywhere; its names stay reserved. Raises PreconditionFailed."""
    site = locked(site)
    if_match.require_match(site.version)
    site.deleted_at = now
    site.version = site.version + 1
    site.save(update_fields=["deleted_at", "version", "updated_at"])
    record("site.deleted", actor=actor, subject=site)
    announce_if_live(site)
    changed(site)


@transaction.atomic
def restore_site(site: Site, *, actor: Actor) -> Site:
    """Bring a hidden site back as it was, published if it was. Raises NotDeleted."""
    lock_owner(site.owner_id)
    site = locked(site, deleted=True)
    if site.deleted_at is None:
        raise NotDeleted
    site.deleted_at = None
    site.version = site.version + 1
    site.save(update_fields=["deleted_at", "version", "updated_at"])
    record("site.restored", actor=actor, subject=site)
    announce_if_live(site)
    changed(site)
    return site


def soft_delete_sites_of(owner_id: UUID, moment: datetime) -> None:
    """The part of sites in hiding a person: what they own goes with them."""
    _move_sites_of(owner_id, {"deleted_at": None}, {"deleted_at": moment}, "site.deleted")


def restore_sites_of(owner_id: UUID, moment: datetime) -> None:
    """Bring back what was hidden together with its owner, and nothing hidden before."""
    _move_sites_of(owner_id, {"deleted_at": moment}, {"deleted_at": None}, "site.restored")


def _move_sites_of(owner_id: UUID, found: dict[str, Any], change: dict[str, Any], event: str) -> None:
    with tenancy.context(tenancy.SYSTEM):
        sites = list(Site.objects.select_for_update(no_key=True).filter(owner_id=owner_id, **found))
        Site.objects.filter(pk__in=[site.pk for site in sites]).update(**change, version=F("version") + 1)
        for site in sites:
            record(event, actor=SYSTEM, subject=site, because="owner")
            announce_if_live(site)
            changed(site)


def purge_sites(before: datetime) -> int:
    """Delete for good what was hidden before then; return how many. In context `system`."""
    return purge(Site.objects.filter(deleted_at__lt=before))


def purge(sites: QuerySet[Site]) -> int:
    """Delete these sites for good, with everything in them; return how many. In context `system`."""
    purged = 0
    for pk in list(sites.values_list("pk", flat=True)):
        with transaction.atomic():
            site = sites.select_for_update().filter(pk=pk).first()
            if site is None:  # restored since
                continue
            Site.objects.filter(pk=pk).update(live_release=None, status=Site.Status.DRAFT)
            record("site.purged", actor=SYSTEM, subject=site)
            LogEntry.objects.filter(object_id=str(pk)).delete()  # Django's admin keeps names there
            site.delete()
            purged += 1
    return purged


def locked(site: Site, *, deleted: bool = False) -> Site:
    """The site's row as it is now, held until the transaction ends.

    Raises DoesNotExist, for a deleted site too unless that is wanted.
    """
    rows = Site.objects.get_queryset() if deleted else Site.objects.alive()
    found: Site = rows.select_for_update(of=("self",), no_key=True).get(pk=site.pk)
    return found


def announce_if_live(site: Site) -> None:
    if site.status == Site.Status.LIVE:
        change_stream.announce(site, host_of(site.subdomain))


def changed(site: Site) -> None:
    """What the gate keeps of this site and of its members' lists is stale after the commit."""
    members = list(Access.objects.filter(site=site).values_list("user_id", flat=True))
    stamps = [f"site:{site.pk}", *(f"sites-of:{member}" for member in members)]
    transaction.on_commit(lambda: cached_responses.invalidate(*stamps), robust=True)
