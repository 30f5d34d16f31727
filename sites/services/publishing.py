"""Publishing: freeze the draft as a release, show a release to visitors, and schedule both for later.

Callers run in a tenancy context that sees the site.
"""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from audit.actors import SYSTEM, Actor
from audit.services import record
from core import tenancy
from core.errors import DomainError, NotFound
from core.http.preconditions import IfMatch
from core.jobs import queue
from core.models import Job
from sites import change_stream
from sites.database_functions import PageCount
from sites.errors import (
    AuthorGone,
    NotPublished,
    Overtaken,
    ReleaseLive,
    ScheduleDone,
    SiteArchived,
    SiteEmpty,
    TimePassed,
    TooManySchedules,
)
from sites.models import Draft, Release, Revision, Schedule, Site
from sites.services import quotas
from sites.services.posts import publish_due_posts
from sites.services.sites import invalidate_site_responses, lock_site
from sites.subdomains import host_of

MAX_SCHEDULES = 20  # open ones of one site
MAX_SCHEDULE_AHEAD = timedelta(days=730)
INSERT_RELEASE_SQL = (
    "INSERT INTO sites_release (id, site_id, number, note, author_id, created_at, blueprint) "
    "SELECT %s, site_id, %s, %s, %s, %s, blueprint "
    "FROM {source_table} "
    "WHERE {source_key} = %s "
    "RETURNING size"
)


@transaction.atomic
def publish_site(site: Site, *, actor: Actor, if_match: IfMatch, note: str = "") -> Release:
    """Freeze the draft as the next release and show it to visitors.

    Raises SiteArchived, SiteEmpty, QuotaExceeded, PreconditionFailed.
    """
    site = lock_site(site)
    draft = _lock_draft(site, if_match=if_match)
    return create_release(site, draft, actor=actor, author_id=actor.id, note=note)


def _lock_draft(site: Site, *, if_match: IfMatch) -> Draft:
    """Return the draft without its blueprint, locked. Raises PreconditionFailed."""
    draft = Draft.objects.select_for_update().defer("blueprint").get(site=site)
    if_match.require_match(draft.version)
    return draft


def create_release(
    site: Site,
    source: Draft | Revision,
    *,
    actor: Actor,
    author_id: UUID | None,
    note: str,
    audit_fields: dict[str, Any] | None = None,
) -> Release:
    """Create the next release from the blueprint of `source` and make it the live one. `site` is locked.

    The blueprint, of up to 10 MiB, is copied inside the database. `audit_fields` are added to the audit
    entry.

    Raises SiteArchived, SiteEmpty, QuotaExceeded.
    """
    check_publishable(site, source)
    release = Release(
        site=site, number=site.next_release, note=note, author_id=author_id, created_at=timezone.now()
    )
    insert_release = INSERT_RELEASE_SQL.format(
        source_table=source._meta.db_table, source_key=source._meta.pk.column
    )
    parameters = [release.pk, release.number, note, author_id, release.created_at, source.pk]
    with connection.cursor() as cursor:
        cursor.execute(insert_release, parameters)
        (size,) = cursor.fetchone()
    quotas.require_room(site, added=size)
    site.next_release = release.number + 1
    _set_live_release(site, release)
    record("site.published", actor=actor, subject=site, release=release.number, **(audit_fields or {}))
    return release


def check_publishable(site: Site, source: Draft | Revision) -> None:
    """Raises SiteArchived, and SiteEmpty when the blueprint of `source` has no page. Runs one query."""
    if site.status == Site.Status.ARCHIVED:
        raise SiteArchived
    page_counts = type(source).objects.filter(pk=source.pk).values_list(PageCount("blueprint"), flat=True)
    if page_counts.get() == 0:
        raise SiteEmpty


@transaction.atomic
def roll_back_to_release(site: Site, release: Release, *, actor: Actor) -> Release:
    """Make an earlier release the live one. The draft does not change. Raises ReleaseLive, SiteArchived."""
    site = lock_site(site)
    if site.status == Site.Status.ARCHIVED:
        raise SiteArchived
    if site.live_release_id == release.pk:
        raise ReleaseLive
    _set_live_release(site, release)
    record("site.rolled_back", actor=actor, subject=site, release=release.number)
    return release


def _set_live_release(site: Site, release: Release) -> None:
    """Save the site with its live release. After the commit every web process drops its cached pages."""
    site.status = Site.Status.LIVE
    site.live_release = release
    site.version = site.version + 1
    site.save(update_fields=["status", "live_release", "next_release", "version", "updated_at"])
    change_stream.announce_host_change(site, host_of(site.subdomain))
    invalidate_site_responses(site)


@transaction.atomic
def unpublish_site(site: Site, *, actor: Actor, audit_fields: dict[str, Any] | None = None) -> Site:
    """Stop showing a site to visitors. Its releases stay. Raises NotPublished.

    `audit_fields` are added to the audit entry.
    """
    site = lock_site(site)
    if site.status != Site.Status.LIVE:
        raise NotPublished
    site.status = Site.Status.DRAFT
    site.live_release = None
    site.version = site.version + 1
    site.save(update_fields=["status", "live_release", "version", "updated_at"])
    record("site.unpublished", actor=actor, subject=site, **(audit_fields or {}))
    change_stream.announce_host_change(site, host_of(site.subdomain))
    invalidate_site_responses(site)
    return site


@transaction.atomic
def schedule_change(
    site: Site, *, act: str, at: datetime, actor: Actor, if_match: IfMatch, now: datetime, note: str = ""
) -> Schedule:
    """Schedule an unpublish, or a publish of the draft in its current version, for the time `at`.

    Raises TimePassed, TooManySchedules, SiteArchived, SiteEmpty, PreconditionFailed.
    """
    site = lock_site(site)
    if not now < at <= now + MAX_SCHEDULE_AHEAD:
        raise TimePassed
    if site.schedules.filter(status__in=Schedule.OPEN).count() >= MAX_SCHEDULES:
        raise TooManySchedules
    revision = None
    if act == Schedule.Act.PUBLISH:
        revision = lock_draft_revision(site, if_match=if_match)
        check_publishable(site, revision)
    schedule: Schedule = Schedule.objects.create(
        site=site, act=act, at=at, due_at=at, revision=revision, note=note, author_id=actor.id
    )
    record("site.scheduled", actor=actor, subject=site, schedule=schedule.pk, act=act, at=at)
    return schedule


def lock_draft_revision(site: Site, *, if_match: IfMatch) -> Revision:
    """Return the revision of the draft's last save, without its blueprint.

    The draft is locked, so it stays equal to this revision until the transaction ends.

    Raises PreconditionFailed.
    """
    draft = _lock_draft(site, if_match=if_match)
    return Revision.objects.defer("blueprint").get(site=site, version=draft.version)


@transaction.atomic
def cancel_schedule(schedule: Schedule, *, actor: Actor) -> None:
    """Delete a scheduled change. Raises ScheduleDone when it was carried out, NotFound when it is deleted."""
    locked_schedule = Schedule.objects.select_for_update().filter(pk=schedule.pk).first()
    if locked_schedule is None:
        raise NotFound
    if locked_schedule.status == Job.Status.DONE:
        raise ScheduleDone
    record(
        "site.schedule_cancelled",
        actor=actor,
        subject=locked_schedule,
        act=locked_schedule.act,
        at=locked_schedule.at,
    )
    locked_schedule.delete()


def run_due_schedules(*, now: datetime) -> int:
    """Carry out the scheduled changes that are due. Returns how many.

    Each one is carried out once, also when several workers run this at the same time.
    """
    return queue.run_due(Schedule, _run_schedule, now=now)


def publish_scheduled(*, now: datetime) -> int:
    """Carry out the scheduled changes and publish the posts that are due. Returns how many of both.

    Several workers may run this at the same time.
    """
    count = run_due_schedules(now=now)
    while published := publish_due_posts(now=now):
        count += published
    return count


def _run_schedule(schedule: Schedule) -> None:
    """Carry out a claimed schedule and mark it as done, in one transaction.

    If the worker is killed, both are rolled back. A DomainError would be raised again by every further
    attempt, so it ends the schedule: its code is stored in `refused` and in the audit entry.
    """
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.alive().select_for_update(no_key=True).filter(pk=schedule.site_id).first()
        schedules = Schedule.objects.select_related("author", "revision").defer("revision__blueprint")
        running = schedules.filter(pk=schedule.pk, status=Job.Status.RUNNING)
        locked_schedule = running.select_for_update(of=("self",)).first()
        if locked_schedule is None:  # cancelled after it was claimed
            return
        error_code = ""
        try:
            with transaction.atomic():
                _apply_schedule(site, locked_schedule)
        except DomainError as error:
            error_code = error.code
            record(
                "site.schedule_failed",
                actor=SYSTEM,
                subject=locked_schedule,
                act=locked_schedule.act,
                because=error_code,
            )
        Schedule.objects.filter(pk=locked_schedule.pk).update(status=Job.Status.DONE, refused=error_code)


def _apply_schedule(site: Site | None, schedule: Schedule) -> None:
    """Publish or unpublish the site.

    Raises NotFound for a deleted site, AuthorGone when the author's account is closed or disabled, Overtaken
    when this runs late and a newer release exists, SiteArchived, SiteEmpty, QuotaExceeded, NotPublished.
    """
    if site is None:
        raise NotFound
    if schedule.author is None or schedule.author.deleted_at or not schedule.author.is_active:
        raise AuthorGone
    if Release.objects.filter(site=site, created_at__gt=schedule.at).exists():
        raise Overtaken
    if schedule.act == Schedule.Act.UNPUBLISH:
        unpublish_site(site, actor=SYSTEM, audit_fields={"schedule": schedule.pk})
        return
    assert schedule.revision is not None
    create_release(
        site,
        schedule.revision,
        actor=SYSTEM,
        author_id=schedule.author_id,
        note=schedule.note,
        audit_fields={"schedule": schedule.pk},
    )


def delete_finished_schedules(*, before: datetime) -> int:
    """Delete finished schedules whose time was before `before`. Returns how many.

    Runs in the tenancy context `system`.
    """
    return Schedule.objects.filter(at__lt=before).exclude(status__in=Schedule.OPEN).delete()[0]
