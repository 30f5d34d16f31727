"""Reviews: an author asks for what the draft is now to be published; an editor answers."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction

from accounts.models import User
from audit.actors import Actor
from audit.services import record
from core.http.preconditions import IfMatch
from core.jobs import mail
from sites.errors import ReviewAnswered, ReviewOpen
from sites.models import Access, Release, Review, Site
from sites.services.members import site_name_for_mail
from sites.services.publishing import check_publishable, create_release, lock_draft_revision
from sites.services.sites import lock_site

MAILED_REVIEW_LIMIT_PER_HOUR = 5  # reviews of one site that are mailed about
EDITOR_ROLES = [Access.Role.OWNER, Access.Role.EDITOR]


@transaction.atomic
def request_review(site: Site, *, actor: Actor, if_match: IfMatch, note: str = "") -> Review:
    """Ask the editors to publish the draft as it is now; they get a mail.

    One review of a site is open at a time.

    Raises ReviewOpen, SiteArchived, SiteEmpty, PreconditionFailed.
    """
    site = lock_site(site)
    revision = lock_draft_revision(site, if_match=if_match)
    check_publishable(site, revision)
    try:
        with transaction.atomic():
            review = Review.objects.create(site=site, revision=revision, note=note, author_id=actor.id)
    except IntegrityError:
        raise ReviewOpen from None
    record("review.asked", actor=actor, subject=review, version=revision.version)
    if (
        Review.objects.filter(site=site, created_at__gt=review.created_at - timedelta(hours=1)).count()
        > MAILED_REVIEW_LIMIT_PER_HOUR
    ):
        return review  # asking and withdrawing all day must not fill mailboxes
    editors = User.objects.alive().filter(
        site_access__site=site, site_access__role__in=EDITOR_ROLES, is_active=True
    )
    for editor in editors.exclude(pk__in=[actor.id]):
        _tell(editor, "review_asked", site)
    return review


@transaction.atomic
def approve_review(review: Review, *, actor: Actor, now: datetime, comment: str = "") -> Release:
    """Publish exactly what was asked about, whatever the draft is by now.

    Raises ReviewAnswered, SiteArchived, SiteEmpty.
    """
    site = lock_site(review.site)
    held = _open(review)
    assert held.revision is not None
    author = actor.id
    release = create_release(
        site, held.revision, actor=actor, author_id=author, note=held.note, review=held.pk
    )
    _answer(held, Review.State.APPROVED, actor=actor, now=now, comment=comment)
    _tell_author(held, site, actor=actor)
    return release


@transaction.atomic
def return_review(review: Review, *, actor: Actor, now: datetime, comment: str) -> Review:
    """Give it back to its author with a comment. Raises ReviewAnswered."""
    site = lock_site(review.site)
    held = _open(review)
    _answer(held, Review.State.RETURNED, actor=actor, now=now, comment=comment)
    _tell_author(held, site, actor=actor)
    return held


@transaction.atomic
def withdraw_review(review: Review, *, actor: Actor, now: datetime) -> None:
    """The author, or an editor, takes it back. Raises ReviewAnswered."""
    lock_site(review.site)
    _answer(_open(review), Review.State.WITHDRAWN, actor=actor, now=now)


def _open(review: Review) -> Review:
    held = (
        Review.objects.select_for_update(of=("self",))
        .select_related("revision")
        .defer("revision__blueprint")
        .get(pk=review.pk)
    )
    if held.state != Review.State.OPEN:
        raise ReviewAnswered
    return held


def _answer(review: Review, state: str, *, actor: Actor, now: datetime, **answer: Any) -> None:
    review.state = state
    review.editor_id = actor.id
    review.answered_at = now
    review.comment = answer.get("comment", "")
    review.save(update_fields=["state", "editor", "answered_at", "comment"])
    record(f"review.{state}", actor=actor, subject=review)


def _tell_author(review: Review, site: Site, *, actor: Actor) -> None:
    if review.author_id is None or review.author_id == actor.id:
        return
    author = User.objects.alive().filter(pk=review.author_id, is_active=True).first()
    if author:
        _tell(author, f"review_{review.state}", site)


def _tell(person: User, template: str, site: Site) -> None:
    link = (
        f"{settings.FRONT_END_URL}/sites/{site.pk}" if settings.ENV.front_end_url else ""
    )  # we have no such page
    mail.enqueue_mail(person.email, template, person=person.pk, site=site_name_for_mail(site), link=link)
