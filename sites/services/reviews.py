"""Reviews: an author asks the editors to publish the current draft, and an editor answers."""

from datetime import datetime, timedelta

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

MAILED_REVIEW_LIMIT_PER_HOUR = 5  # of one site; further reviews are created without a mail
EDITOR_ROLES = [Access.Role.OWNER, Access.Role.EDITOR]


@transaction.atomic
def request_review(site: Site, *, actor: Actor, if_match: IfMatch, note: str = "") -> Review:
    """Ask the editors to publish the draft in its current version. They receive a mail.

    A site has at most one open review.

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
    reviews_last_hour = Review.objects.filter(
        site=site, created_at__gt=review.created_at - timedelta(hours=1)
    )
    if reviews_last_hour.count() <= MAILED_REVIEW_LIMIT_PER_HOUR:
        editors = User.objects.alive().filter(
            site_access__site=site, site_access__role__in=EDITOR_ROLES, is_active=True
        )
        for editor in editors.exclude(pk__in=[actor.id]):
            _mail_user(editor, "review_asked", site)
    return review


@transaction.atomic
def approve_review(review: Review, *, actor: Actor, now: datetime, comment: str = "") -> Release:
    """Publish the reviewed revision, even if the draft has changed since.

    Raises ReviewAnswered, SiteArchived, SiteEmpty, QuotaExceeded.
    """
    site = lock_site(review.site)
    review = _lock_open_review(review)
    assert review.revision is not None
    release = create_release(
        site,
        review.revision,
        actor=actor,
        author_id=actor.id,
        note=review.note,
        audit_fields={"review": review.pk},
    )
    _close_review(review, Review.Status.APPROVED, actor=actor, now=now, comment=comment)
    _mail_author(review, site, actor=actor)
    return release


@transaction.atomic
def return_review(review: Review, *, actor: Actor, now: datetime, comment: str) -> Review:
    """Close a review without publishing and send the comment to its author. Raises ReviewAnswered."""
    site = lock_site(review.site)
    review = _lock_open_review(review)
    _close_review(review, Review.Status.RETURNED, actor=actor, now=now, comment=comment)
    _mail_author(review, site, actor=actor)
    return review


@transaction.atomic
def withdraw_review(review: Review, *, actor: Actor, now: datetime) -> None:
    """Close a review on behalf of its author or an editor. Raises ReviewAnswered."""
    lock_site(review.site)
    _close_review(_lock_open_review(review), Review.Status.WITHDRAWN, actor=actor, now=now)


def _lock_open_review(review: Review) -> Review:
    """Return the review with its revision, locked. Raises ReviewAnswered."""
    locked_review = (
        Review.objects.select_for_update(of=("self",))
        .select_related("revision")
        .defer("revision__blueprint")
        .get(pk=review.pk)
    )
    if locked_review.status != Review.Status.OPEN:
        raise ReviewAnswered
    return locked_review


def _close_review(review: Review, status: str, *, actor: Actor, now: datetime, comment: str = "") -> None:
    review.status = status
    review.editor_id = actor.id
    review.answered_at = now
    review.comment = comment
    review.save(update_fields=["status", "editor", "answered_at", "comment"])
    record(f"review.{status}", actor=actor, subject=review)


def _mail_author(review: Review, site: Site, *, actor: Actor) -> None:
    """Mail the answer to the author of a review, unless the author is the actor or has no open account."""
    if review.author_id is None or review.author_id == actor.id:
        return
    author = User.objects.alive().filter(pk=review.author_id, is_active=True).first()
    if author:
        _mail_user(author, f"review_{review.status}", site)


def _mail_user(user: User, template: str, site: Site) -> None:
    """Enqueue a mail about a site. It links to the front end, if one is configured: we have no such page."""
    link = f"{settings.FRONT_END_URL}/sites/{site.pk}" if settings.ENV.front_end_url else ""
    mail.enqueue_mail(user.email, template, person=user.pk, site=site_name_for_mail(site), link=link)
