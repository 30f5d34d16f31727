"""Preview links: anyone who has one sees unpublished content until the link expires or is revoked."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from audit.actors import Actor
from audit.services import record
from core import encryption
from core.errors import NotFound
from sites.errors import TooManyPreviews
from sites.models import Draft, Post, Preview, Revision, Site
from sites.services.sites import lock_site
from sites.subdomains import address_of

MAX_PREVIEWS = 50  # unexpired ones of one site
PREVIEW_PATH_PREFIX = "/_/preview/"
SIGNING_PURPOSE = "preview link"


@transaction.atomic
def create_preview(
    site: Site,
    *,
    actor: Actor,
    now: datetime,
    lifetime: timedelta,
    revision: Revision | None = None,
    post: Post | None = None,
) -> Preview:
    """Create a link to one revision or one post, or to the draft in its current state when neither is passed.

    The actor is a user: the link stops working when this user loses the right to create it.

    Raises TooManyPreviews, and NotFound when a save has replaced the revision in the meantime.
    """
    assert actor.id is not None
    site = lock_site(site)
    if Preview.objects.filter(site=site, expires_at__gt=now).count() >= MAX_PREVIEWS:
        raise TooManyPreviews
    if revision:
        # From now on no save replaces the revision, because a preview refers to it.
        Draft.objects.select_for_update().defer("blueprint").get(site=site)
        if not Revision.objects.filter(pk=revision.pk).exists():
            raise NotFound
    preview = Preview.objects.create(
        site=site, revision=revision, post=post, author_id=actor.id, expires_at=now + lifetime
    )
    record("preview.created", actor=actor, subject=preview, until=preview.expires_at)
    return preview


@transaction.atomic
def revoke_preview(preview: Preview, *, actor: Actor) -> None:
    """Delete a preview link. It stops working at once."""
    record("preview.revoked", actor=actor, subject=preview)
    preview.delete()


def preview_url(preview: Preview, site: Site) -> str:
    """Return the URL to share. Its token is computed and never stored, so a copy of the database has none."""
    token = encryption.make_token(SIGNING_PURPOSE, preview.pk)
    return f"{address_of(site.subdomain)}{PREVIEW_PATH_PREFIX}{token}/"


def find_preview_by_token(token: str, *, now: datetime) -> Preview | None:
    """Return the preview of a link, with its site, revision and post; None when the link does not work.

    A link works until it expires or is revoked, as long as its author's account is active and its site and
    post are not deleted. A token with a wrong signature is rejected without a query. Runs in the tenancy
    context `system`.
    """
    if (pk := encryption.verify_token(SIGNING_PURPOSE, token)) is None:
        return None
    previews = Preview.objects.select_related("site", "post__author")
    return previews.filter(
        Q(post=None) | Q(post__deleted_at=None),
        pk=pk,
        expires_at__gt=now,
        author__is_active=True,
        author__deleted_at=None,
        site__deleted_at=None,
    ).first()


def delete_expired_previews(*, before: datetime) -> int:
    """Delete links that expired before `before`. Returns how many. Runs in the tenancy context `system`."""
    return Preview.objects.filter(expires_at__lt=before).delete()[0]
