"""Sites: create, change, soft-delete, restore and purge.

Callers run in a tenancy context that sees the site.
"""

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
from sites import change_stream
from sites.blueprint import schema
from sites.blueprint.site_templates import empty_blueprint, site_templates
from sites.errors import NotDeleted, SubdomainTaken, TooManySites
from sites.models import Access, Draft, Site
from sites.services import quotas, reservations
from sites.services.drafts import create_revision
from sites.subdomains import host_of

MAX_SITES = 200  # of one owner, soft-deleted ones included


@transaction.atomic
def create_site(
    *, actor: Actor, owner_id: UUID, name: str, subdomain: str, template: str | None = None
) -> Site:
    """Create a site with its draft, empty or from a site template.

    The owner's access row is inserted first, because the row-level security policies of the other tables
    depend on it.

    Raises SubdomainTaken, TooManySites, QuotaExceeded, NotFound when the owner's account is closed.
    """
    lock_owner(owner_id)
    check_site_limit(owner_id)
    site = Site(owner_id=owner_id, name=name, subdomain=subdomain)
    Access.objects.create(site_id=site.pk, user_id=owner_id, role=Access.Role.OWNER)
    try:
        with transaction.atomic():
            site.save(force_insert=True)
            reservations.claim_subdomain(site)
    except IntegrityError:
        raise SubdomainTaken from None
    document = site_templates()[template].blueprint if template else empty_blueprint(name)
    site.draft = Draft.objects.create(
        site=site, blueprint=schema.validate_blueprint(document), author_id=owner_id
    )
    added_with_revision, _ = create_revision(site.draft)
    quotas.require_room(site, added=site.draft.size + added_with_revision)
    record("site.created", actor=actor, subject=site, personal={"subdomain": subdomain}, template=template)
    invalidate_site_responses(site)
    return site


def check_site_limit(owner_id: UUID) -> None:
    """Raises TooManySites when this user cannot own another site. The caller has locked the user's row."""
    if Access.objects.filter(user_id=owner_id, role=Access.Role.OWNER).count() >= MAX_SITES:
        raise TooManySites


def lock_owner(owner_id: UUID) -> None:
    """Lock the owner's row until the transaction ends. Raises NotFound when the account is closed.

    Without this lock two concurrent requests could exceed the limit of sites, and a site could be created
    while its owner's account is being deleted.
    """
    if not User.objects.alive().select_for_update(no_key=True).filter(pk=owner_id).first():
        raise NotFound


@transaction.atomic
def change_site(site: Site, changes: dict[str, Any], *, actor: Actor, if_match: IfMatch) -> Site:
    """Change the name or the subdomain. A live site is served under the new host after the commit.

    The former subdomain stays reserved.

    Raises PreconditionFailed, SubdomainTaken.
    """
    site = lock_site(site)
    if_match.require_match(site.version)
    old_subdomain = site.subdomain
    personal = {"name_before": site.name} if "name" in changes else {}
    for name, value in changes.items():
        setattr(site, name, value)
    site.version += 1
    try:
        with transaction.atomic():
            site.save(update_fields=[*changes, "version", "updated_at"])
    except IntegrityError:
        raise SubdomainTaken from None
    has_moved = old_subdomain != site.subdomain
    if has_moved:
        reservations.claim_subdomain(site)
        reservations.reserve_subdomain(site, old_subdomain)
        personal |= {"subdomain_before": old_subdomain, "subdomain_after": site.subdomain}
    record("site.changed", actor=actor, subject=site, personal=personal, fields=sorted(changes))
    if has_moved:
        change_stream.announce_host_change(site, host_of(old_subdomain))
        change_stream.announce_host_change(site, host_of(site.subdomain))
    invalidate_site_responses(site)
    return site


@transaction.atomic
def delete_site(site: Site, *, actor: Actor, now: datetime, if_match: IfMatch) -> None:
    """Soft-delete a site. Visitors do not see it any more; its subdomain stays reserved.

    Raises PreconditionFailed.
    """
    site = lock_site(site)
    if_match.require_match(site.version)
    site.deleted_at = now
    site.version = site.version + 1
    site.save(update_fields=["deleted_at", "version", "updated_at"])
    record("site.deleted", actor=actor, subject=site)
    announce_if_live(site)
    invalidate_site_responses(site)


@transaction.atomic
def restore_site(site: Site, *, actor: Actor) -> Site:
    """Restore a soft-deleted site. It is live again if it was.

    Raises NotDeleted, NotFound when the owner's account is closed.
    """
    lock_owner(site.owner_id)
    site = lock_site(site, include_deleted=True)
    if site.deleted_at is None:
        raise NotDeleted
    site.deleted_at = None
    site.version = site.version + 1
    site.save(update_fields=["deleted_at", "version", "updated_at"])
    record("site.restored", actor=actor, subject=site)
    announce_if_live(site)
    invalidate_site_responses(site)
    return site


def soft_delete_sites_of(owner_id: UUID, deleted_at: datetime) -> None:
    """Handler for the soft deletion of a user: soft-deletes the sites that they own."""
    _set_deleted_at(owner_id, old=None, new=deleted_at, event="site.deleted")


def restore_sites_of(owner_id: UUID, deleted_at: datetime) -> None:
    """Handler for the restoration of a user: restores the sites that were deleted together with them.

    Sites that the owner had deleted before stay deleted.
    """
    _set_deleted_at(owner_id, old=deleted_at, new=None, event="site.restored")


def _set_deleted_at(owner_id: UUID, *, old: datetime | None, new: datetime | None, event: str) -> None:
    """Change `deleted_at` from `old` to `new` for all sites of an owner."""
    with tenancy.context(tenancy.SYSTEM):
        sites = list(Site.objects.select_for_update(no_key=True).filter(owner_id=owner_id, deleted_at=old))
        site_ids = [site.pk for site in sites]
        Site.objects.filter(pk__in=site_ids).update(deleted_at=new, version=F("version") + 1)
        for site in sites:
            record(event, actor=SYSTEM, subject=site, because="owner")
            announce_if_live(site)
            invalidate_site_responses(site)


def purge_sites(before: datetime) -> int:
    """Delete the rows of sites that were soft-deleted before `before`. Returns how many.

    Runs in the tenancy context `system`.
    """
    return purge_queryset(Site.objects.filter(deleted_at__lt=before))


def purge_queryset(sites: QuerySet[Site]) -> int:
    """Delete the rows of these sites and of everything that belongs to them. Returns how many sites.

    Their subdomains stay reserved.
    Runs in the tenancy context `system`.
    """
    purged = 0
    for pk in list(sites.values_list("pk", flat=True)):
        with transaction.atomic():
            site = sites.select_for_update().filter(pk=pk).first()
            if site is None:  # restored by a concurrent request
                continue
            Site.objects.filter(pk=pk).update(live_release=None, status=Site.Status.DRAFT)
            record("site.purged", actor=SYSTEM, subject=site)
            LogEntry.objects.filter(object_id=str(pk)).delete()  # these rows contain the site's name
            reservations.reserve_subdomain(site, site.subdomain)
            site.delete()
            purged += 1
    return purged


def lock_site(site: Site, *, include_deleted: bool = False) -> Site:
    """Return the current row of a site, locked until the transaction ends.

    Raises DoesNotExist, also for a soft-deleted site unless `include_deleted`.
    """
    sites = Site.objects.get_queryset() if include_deleted else Site.objects.alive()
    locked_site: Site = sites.select_for_update(of=("self",), no_key=True).get(pk=site.pk)
    return locked_site


def announce_if_live(site: Site) -> None:
    """Make every web process drop what it has cached for the host of a live site, after the commit."""
    if site.status == Site.Status.LIVE:
        change_stream.announce_host_change(site, host_of(site.subdomain))


def invalidate_site_responses(site: Site) -> None:
    """Drop, after the commit, the cached API responses of this site and of its members' lists of sites."""
    members = list(Access.objects.filter(site=site).values_list("user_id", flat=True))
    cached_responses.invalidate_after_commit(
        cached_responses.site_tag(site.pk), *map(cached_responses.sites_tag, members)
    )
