"""What visitors see: published, planned, taken off, rolled back.

Callers are in a tenancy context that sees the site.
"""

from datetime import datetime, timedelta
from functools import partial
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
from sites.models import Draft, PageCount, Release, Revision, Schedule, Site
from sites.services.posts import publish_due_posts
from sites.services.sites import changed, locked
from sites.serving import change_stream
from sites.subdomains import host_of

MAX_SCHEDULES = 20  # waiting ones of a site
COPY = (
    "INSERT INTO sites_release (id, site_id, number, note, author_id, created_at, blueprint) "
    "SELECT %s, site_id, %s, %s, %s, %s, blueprint FROM {source} WHERE {key} = %s"
)
FARTHEST = timedelta(days=730)


@transaction.atomic
def publish_site(site: Site, *, actor: Actor, if_match: IfMatch, note: str = "") -> Release:
    """Freeze the draft as the next release and show it to visitors.

    Raises SiteArchived, SiteEmpty, PreconditionFailed.
    """
    site = locked(site)
    draft = _draft(site, if_match=if_match)
    return release_copy(site, draft, actor=actor, author_id=actor.id, note=note)


def _draft(site: Site, *, if_match: IfMatch) -> Draft:
    """The draft without its blueprint, held. Raises PreconditionFailed."""
    draft = Draft.objects.select_for_update().defer("blueprint").get(site=site)
    if_match.require_match(draft.version)
    return draft


def release_copy(
    site: Site, source: Draft | Revision, *, actor: Actor, author_id: UUID | None, note: str, **facts: Any
) -> Release:
    """Show visitors what `source` holds, copied within the database; the site is locked.

    `facts` go into the trail.

    Raises SiteArchived, SiteEmpty.
    """
    check_publishable(site, source)
    release = Release(
        site=site, number=site.next_release, note=note, author_id=author_id, created_at=timezone.now()
    )
    copy = COPY.format(source=source._meta.db_table, key=source._meta.pk.column)
    with connection.cursor() as cursor:
        cursor.execute(copy, [release.pk, release.number, note, author_id, release.created_at, source.pk])
    site.next_release = release.number + 1
    _show(site, release)
    record("site.published", actor=actor, subject=site, release=release.number, **facts)
    return release


def check_publishable(site: Site, source: Draft | Revision) -> None:
    """Raise SiteArchived, SiteEmpty. One query."""
    if site.status == Site.Status.ARCHIVED:
        raise SiteArchived
    if not type(source).objects.filter(pk=source.pk).values_list(PageCount("blueprint"), flat=True).get():
        raise SiteEmpty


@transaction.atomic
def roll_back(site: Site, release: Release, *, actor: Actor) -> Release:
    """Show visitors an earlier release again; the draft stays. Raises ReleaseLive, SiteArchived."""
    site = locked(site)
    if site.status == Site.Status.ARCHIVED:
        raise SiteArchived
    if site.live_release_id == release.pk:
        raise ReleaseLive
    _show(site, release)
    record("site.rolled_back", actor=actor, subject=site, release=release.number)
    return release


def _show(site: Site, release: Release) -> None:
    site.status = Site.Status.LIVE
    site.live_release = release
    site.version = site.version + 1
    site.save(update_fields=["status", "live_release", "next_release", "version", "updated_at"])
    change_stream.announce(
        site, host_of(site.subdomain)
    )  # after commit: every process drops its pages of this site
    changed(site)


@transaction.atomic
def unpublish_site(site: Site, *, actor: Actor, **facts: Any) -> Site:
    """Take a site off the web; releases stay. Raises NotPublished."""
    site = locked(site)
    if site.status != Site.Status.LIVE:
        raise NotPublished
    site.status = Site.Status.DRAFT
    site.live_release = None
    site.version = site.version + 1
    site.save(update_fields=["status", "live_release", "version", "updated_at"])
    record("site.unpublished", actor=actor, subject=site, **facts)
    change_stream.announce(site, host_of(site.subdomain))
    changed(site)
    return site


@transaction.atomic
def schedule_change(
    site: Site, *, act: str, at: datetime, actor: Actor, if_match: IfMatch, now: datetime, note: str = ""
) -> Schedule:
    """Plan a publish of the draft as it is now, or an unpublish, for `at`.

    Raises TimePassed, TooManySchedules, SiteArchived, SiteEmpty, PreconditionFailed.
    """
    site = locked(site)
    if not now < at <= now + FARTHEST:
        raise TimePassed
    if site.schedules.filter(state__in=Schedule.OPEN).count() >= MAX_SCHEDULES:
        raise TooManySchedules
    revision = None
    if act == Schedule.Act.PUBLISH:
        revision = revision_of_draft(site, if_match=if_match)
        check_publishable(site, revision)
    planned: Schedule = Schedule.objects.create(
        site=site, act=act, at=at, due_at=at, revision=revision, note=note, author_id=actor.id
    )
    record("site.scheduled", actor=actor, subject=site, schedule=planned.pk, act=act, at=at)
    return planned


def revision_of_draft(site: Site, *, if_match: IfMatch) -> Revision:
    """What the draft is now, as the revision of its last save; both stay until the transaction ends.

    Raises PreconditionFailed.
    """
    draft = _draft(site, if_match=if_match)
    return Revision.objects.defer("blueprint").get(site=site, version=draft.version)


@transaction.atomic
def cancel_schedule(schedule: Schedule, *, actor: Actor) -> None:
    """Forget a planned change. Raises ScheduleDone when it happened, NotFound when it is gone."""
    held = Schedule.objects.select_for_update().filter(pk=schedule.pk).first()
    if held is None:
        raise NotFound
    if held.state == Job.State.DONE:
        raise ScheduleDone
    record("site.schedule_cancelled", actor=actor, subject=held, act=held.act, at=held.at)
    held.delete()


def run_due_schedules(*, now: datetime) -> int:
    """Do what is due, each once however many workers ask; return how many were done."""
    due = queue.claim(Schedule, now=now)
    return sum(queue.run(planned, partial(_run, planned), now=now) for planned in due)


def publish_scheduled(*, now: datetime) -> int:
    """Everything that is due: planned changes of sites, and posts; return how many.

    Any number of callers may ask at once.
    """
    return run_due_schedules(now=now) + publish_due_posts(now=now)


def _run(planned: Schedule) -> None:
    """In one transaction with the row's end, so that a worker killed here has done all of it or nothing."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.alive().select_for_update(no_key=True).filter(pk=planned.site_id).first()
        running = Schedule.objects.select_related("author", "revision").defer("revision__blueprint")
        held = running.select_for_update(of=("self",)).filter(pk=planned.pk, state=Job.State.RUNNING).first()
        if held is None:  # cancelled since it was claimed
            return
        refused = ""
        try:
            with transaction.atomic():
                _change(site, held)
        except DomainError as refusal:  # it will not become possible by trying again: say so in the trail
            refused = refusal.code
            record("site.schedule_failed", actor=SYSTEM, subject=held, act=held.act, because=refused)
        Schedule.objects.filter(pk=held.pk).update(state=Job.State.DONE, refused=refused)


def _change(site: Site | None, held: Schedule) -> None:
    if site is None:
        raise NotFound
    if held.author is None or held.author.deleted_at or not held.author.is_active:
        raise AuthorGone
    if Release.objects.filter(
        site=site, created_at__gt=held.at
    ).exists():  # it comes late, after somebody published
        raise Overtaken
    if held.act == Schedule.Act.UNPUBLISH:
        unpublish_site(site, actor=SYSTEM, schedule=held.pk)
        return
    assert held.revision is not None
    author = held.author_id
    release_copy(site, held.revision, actor=SYSTEM, author_id=author, note=held.note, schedule=held.pk)


def delete_finished_schedules(*, before: datetime) -> int:
    """Delete planned changes of before then that do not wait any more; return how many.

    In context `system`.
    """
    return Schedule.objects.filter(at__lt=before).exclude(state__in=Schedule.OPEN).delete()[0]
