"""Preview links: who has one sees what is not published, until it expires or is revoked."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from audit.actors import Actor
from audit.services import record
from core import encryption
from sites.errors import TooManyPreviews
from sites.models import Post, Preview, Revision, Site
from sites.services.sites import locked
from sites.subdomains import address_of

MAX_PREVIEWS = 50  # that live, of one site
PREFIX = "/_/preview/"
SIGNATURE = "preview link"


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
    """A link to the draft as it is whenever somebody looks, or to one revision or post.

    Raises TooManyPreviews.
    """
    site = locked(site)
    if Preview.objects.filter(site=site, expires_at__gt=now).count() >= MAX_PREVIEWS:
        raise TooManyPreviews
    made = Preview.objects.create(
        site=site, revision=revision, post=post, author_id=_person(actor), expires_at=now + lifetime
    )
    record("preview.created", actor=actor, subject=made, until=made.expires_at)
    return made


@transaction.atomic
def revoke_preview(preview: Preview, *, actor: Actor) -> None:
    """The link shows nothing from now on."""
    record("preview.revoked", actor=actor, subject=preview)
    preview.delete()


def _person(actor: Actor) -> UUID:
    """Only somebody makes a link: it ends with their rights."""
    assert actor.id is not None
    return actor.id


def link_to(preview: Preview, site: Site) -> str:
    """The address to share. Computed, never stored: the row alone opens nothing."""
    return f"{address_of(site.subdomain)}{PREFIX}{encryption.make_token(SIGNATURE, preview.pk)}/"


def find_preview(token: str, *, now: datetime) -> Preview | None:
    """What a link shows, with its site; None unless it is ours, still good, and made by an open account.

    In context `system`.

    A token that we did not sign costs no query.
    """
    if (pk := encryption.verify_token(SIGNATURE, token)) is None:
        return None
    wanted = Preview.objects.select_related("site", "revision", "post__author").filter(
        pk=pk, expires_at__gt=now
    )
    wanted = wanted.filter(author__is_active=True, author__deleted_at=None)
    return wanted.filter(Q(post=None) | Q(post__deleted_at=None), site__deleted_at=None).first()


def delete_expired_previews(*, before: datetime) -> int:
    """Delete links that expired before then; return how many. In context `system`."""
    return Preview.objects.filter(expires_at__lt=before).delete()[0]
