"""What visitors see: published, planned, taken off, rolled back. Callers are in a tenancy context that sees the site."""

from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.actors import SYSTEM, Actor
from audit.services import record
from core import jobs, tenancy
from core.errors import DomainError, NotFound
from core.models import Job
from core.preconditions import IfMatch
from sites import announcements
from sites.errors import (
    NotPublished,
    ReleaseLive,
    ScheduleDone,
    SiteArchived,
    SiteEmpty,
    TimePassed,
    TooManySchedules,
)
from sites.models import Draft, Release, Revision, Schedule, Site
from sites.services.posts import publish_due_posts
from sites.services.websites import changed, locked
from sites.subdomains import host_of

MAX_SCHEDULES = 20  # waiting ones of a site
FARTHEST = timedelta(days=730)
WAITING = [Job.State.WAITING, Job.State.RUNNING]


@transaction.atomic
def publish_site(site: Site, *, actor: Actor, if_match: IfMatch, note: str = "") -> Release:
    """Freeze the draft as the next release and show it to visitors. Raises SiteArchived, SiteEmpty, PreconditionFailed."""
    site = locked(site)
    draft = Draft.objects.select_for_update().get(site=site)
    if_match.check(draft.version)
    return release_blueprint(site, draft.blueprint, actor=actor, author_id=actor.id, note=note)


def release_blueprint(
    site: Site, document: dict[str, Any], *, actor: Actor, author_id: UUID | None, note: str, **facts: Any
) -> Release:
    """Show visitors `document`; the site is locked. `facts` go into the trail. Raises SiteArchived, SiteEmpty."""
    check_publishable(site, document)
    release = Release.objects.create(
        site=site, number=site.next_release, blueprint=document, note=note, author_id=author_id
    )
    site.next_release = release.number + 1
    _show(site, release)
    record("site.published", actor=actor, subject=site, release=release.number, **facts)
    return release


def check_publishable(site: Site, document: dict[str, Any]) -> None:
    """Raise SiteArchived, SiteEmpty."""
    if site.status == Site.Status.ARCHIVED:
        raise SiteArchived
    if not document.get("pages"):
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
    site.status, site.live_release, site.version = Site.Status.LIVE, release, site.version + 1
    site.save(update_fields=["status", "live_release", "next_release", "version", "updated_at"])
    announcements.announce(site, host_of(site.subdomain))  # after commit: every process drops its pages of this site
    changed(site)


@transaction.atomic
def unpublish_site(site: Site, *, actor: Actor, **facts: Any) -> Site:
    """Take a site off the web; releases stay. Raises NotPublished."""
    site = locked(site)
    if site.status != Site.Status.LIVE:
        raise NotPublished
    site.status, site.live_release, site.version = Site.Status.DRAFT, None, site.version + 1
    site.save(update_fields=["status", "live_release", "version", "updated_at"])
    record("site.unpublished", actor=actor, subject=site, **facts)
    announcements.announce(site, host_of(site.subdomain))
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
    if site.schedules.filter(state__in=WAITING).count() >= MAX_SCHEDULES:
        raise TooManySchedules
    revision = None
    if act == Schedule.Act.PUBLISH:
        revision = revision_of_draft(site, if_match=if_match)
        check_publishable(site, revision.blueprint)
    planned: Schedule = Schedule.objects.create(
        site=site, act=act, at=at, due_at=at, revision=revision, note=note, author_id=actor.id
    )
    record("site.scheduled", actor=actor, subject=site, schedule=planned.pk, act=act, at=at)
    return planned


def revision_of_draft(site: Site, *, if_match: IfMatch) -> Revision:
    """What the draft is now, as the revision of its last save; both stay until the transaction ends.

    Raises PreconditionFailed.
    """
    draft = Draft.objects.select_for_update().defer("blueprint").get(site=site)
    if_match.check(draft.version)
    return Revision.objects.get(site=site, version=draft.version)


@transaction.atomic
def cancel_schedule(schedule: Schedule, *, actor: Actor) -> None:
    """Forget a planned change. Raises ScheduleDone when it happened or is happening, NotFound when it is gone."""
    held = Schedule.objects.select_for_update().filter(pk=schedule.pk).first()
    if held is None:
        raise NotFound
    if held.state == Job.State.DONE:
        raise ScheduleDone
    record("site.schedule_cancelled", actor=actor, subject=held, act=held.act, at=held.at)
    held.delete()


def run_due_schedules(*, now: datetime) -> int:
    """Do what is due, each once however many workers ask; return how many were done."""
    due = jobs.claim(Schedule, now=now)
    return sum(jobs.run(planned, partial(_run, planned), now=now) for planned in due)


def publish_scheduled(*, now: datetime) -> int:
    """Everything that is due: planned changes of sites, and posts; return how many. Any number of callers may ask at once."""
    return run_due_schedules(now=now) + publish_due_posts(now=now)


def _run(planned: Schedule) -> None:
    """In one transaction with the row's end, so that a worker killed here has done all of it or nothing."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site.objects.alive().select_for_update(no_key=True).filter(pk=planned.site_id).first()
        held = Schedule.objects.select_for_update().filter(pk=planned.pk, state=Job.State.RUNNING).first()
        if site is None or held is None:  # deleted or cancelled since it was claimed
            return
        try:
            with transaction.atomic():
                _change(site, held)
        except DomainError as refusal:  # it will not become possible by trying again: say so in the trail
            record("site.schedule_failed", actor=SYSTEM, subject=site, act=held.act, because=refusal.code)
        Schedule.objects.filter(pk=held.pk).update(state=Job.State.DONE)


def _change(site: Site, held: Schedule) -> None:
    if held.act == Schedule.Act.UNPUBLISH:
        unpublish_site(site, actor=SYSTEM, schedule=held.pk)
        return
    assert held.revision is not None
    document, author = held.revision.blueprint, held.author_id
    release_blueprint(site, document, actor=SYSTEM, author_id=author, note=held.note, schedule=held.pk)


def forget_schedules(*, before: datetime) -> int:
    """Delete planned changes that were done before then; return how many. In context `system`."""
    return Schedule.objects.filter(at__lt=before).exclude(state__in=WAITING).delete()[0]
