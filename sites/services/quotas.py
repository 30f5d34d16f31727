"""The storage of sites: the bytes of drafts, revisions, releases and posts, which count for the owner.

`core.quotas` describes how bytes are counted and limited.
"""

from uuid import UUID

from django.db import connection
from django.db.models import Sum

from core import quotas
from sites.models import Draft, Post, Release, Revision, Site

SELECT_BYTES_OF_SITE = "SELECT sum(bytes)::bigint FROM sites_bytes_of_site(%s)"


def measure_sites_of(owner_id: UUID) -> dict[str, int]:
    """Return the stored bytes of a user's sites by kind. Four queries, in the tenancy context `system`."""
    querysets = {
        "drafts": Draft.objects.all(),
        "revisions": Revision.objects.all(),
        "releases": Release.objects.all(),
        "posts": Post.objects.get_queryset(),
    }
    return {
        kind: rows.filter(site__owner_id=owner_id).aggregate(bytes=Sum("size", default=0))["bytes"]
        for kind, rows in querysets.items()
    }


def require_room(site: Site, *, added: int) -> None:
    """Refuse a write that exceeds the quota of the site's owner. See `core.quotas.require_room`.

    Raises QuotaExceeded.
    """
    # The owner is looked up again: the site may have been transferred since `site` was read.
    quotas.require_room(Site.objects.get_queryset().filter(pk=site.pk).values("owner_id"), added=added)


def require_room_for_site(site: Site) -> None:
    """Refuse a whole site that has come to its owner, with everything in it. Raises QuotaExceeded."""
    with connection.cursor() as cursor:
        cursor.execute(SELECT_BYTES_OF_SITE, [site.pk])
        (stored_bytes,) = cursor.fetchone()
    require_room(site, added=stored_bytes)
