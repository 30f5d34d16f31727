"""Links that show the dashboard of a site to people without an account.

The link contains a signed token of the share's id. An optional password is asked for once; a signed cookie
then proves that it was entered.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.contrib.auth.hashers import check_password, make_password
from django.db import transaction
from django.db.models import Q

from analytics.models import Share
from analytics.services import enforce_row_limit
from audit.actors import Actor
from audit.services import record
from core import encryption
from sites.models import Access, Site

# Purposes of signatures, see `core.encryption`. A change would invalidate all links and cookies.
LINK_PURPOSE = "analytics share"
COOKIE_PURPOSE = "analytics share opened"
COOKIE_LIFETIME = timedelta(hours=12)


@transaction.atomic
def create_share(
    site: Site,
    *,
    name: str,
    conditions: Sequence[str],
    password: str,
    expires_at: datetime | None,
    actor: Actor,
) -> Share:
    """Create a link. An empty password means that the link asks for none. Raises TooManySaved."""
    assert actor.id is not None
    enforce_row_limit(site, Share.objects.filter(site=site))
    share = Share.objects.create(
        site=site,
        name=name,
        conditions=conditions,
        password=make_password(password) if password else "",
        expires_at=expires_at,
        author_id=actor.id,
    )
    record("share.created", actor=actor, subject=share, password=bool(password), until=expires_at)
    return share


@transaction.atomic
def revoke_share(share: Share, *, actor: Actor) -> None:
    """Delete a link. From then on it shows an error page."""
    record("share.revoked", actor=actor, subject=share)
    share.delete()


def build_share_url(share: Share) -> str:
    """The URL that a user passes on."""
    return f"{settings.APP_URL}/shared/{encryption.make_token(LINK_PURPOSE, share.pk)}"


def parse_share_token(token: str) -> UUID | None:
    """The id of the share that a token belongs to; None when its signature is wrong. Runs no query."""
    return encryption.verify_token(LINK_PURPOSE, token)


def find_valid_share(share_id: UUID, *, now: datetime) -> Share | None:
    """The share with its site, or None when its link must not work any more.

    A link works until it expires or its site is deleted, and while its author has an active account and may
    still create links of this site. Needs the system context.
    """
    unexpired = Share.objects.select_related("site").filter(
        Q(expires_at=None) | Q(expires_at__gt=now), pk=share_id
    )
    share = unexpired.filter(site__deleted_at=None, author__is_active=True, author__deleted_at=None).first()
    if share is None:
        return None
    editors = Access.objects.filter(
        site=share.site_id, user=share.author_id, role__in=[Access.Role.OWNER, Access.Role.EDITOR]
    )
    return share if editors.exists() else None


def password_matches(share: Share, password: str) -> bool:
    """Whether a password is that of the share. Hashing makes this slow on purpose."""
    return check_password(password, share.password)


def sign_unlock_cookie(share: Share) -> str:
    """The value of the cookie that proves that the password was entered. A new password invalidates it."""
    return encryption.sign(COOKIE_PURPOSE, f"{share.pk}:{share.password}")


def is_unlocked(share: Share, cookie: str) -> bool:
    """Whether the share has no password, or the cookie proves that it was entered."""
    if not share.password:
        return True
    return encryption.verify_signature(COOKIE_PURPOSE, f"{share.pk}:{share.password}", cookie)
