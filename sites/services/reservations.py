"""Former subdomains: other owners cannot take a subdomain for SOFT_DELETE_FOR after a site gave it up.

Without this rule somebody else could take the old address of a site at once, and with it its links, its
visitors and the trust in them. The site itself can take its former name back at any time, and so can another
site of the same owner, for example a copy that was restored from a backup.
"""

import hashlib
from datetime import datetime

from core import tenancy
from sites.errors import SubdomainTaken
from sites.models import Site, SubdomainReservation

MAX_RESERVATIONS = 50  # of one owner; the oldest end first, so that an owner cannot block names without limit


def reserve_subdomain(site: Site, subdomain: str) -> None:
    """Reserve a subdomain that `site` gives up. Runs in the caller's transaction.

    Another transaction that waits for the name in the unique index of sites then sees the reservation.
    """
    reservation = SubdomainReservation(digest=_digest(subdomain), site_id=site.pk, owner_id=site.owner_id)
    with tenancy.context(tenancy.SYSTEM):
        SubdomainReservation.objects.bulk_create(
            [reservation],
            update_conflicts=True,
            unique_fields=["digest"],
            update_fields=["site_id", "owner_id", "released_at"],
        )
        of_owner = SubdomainReservation.objects.filter(owner_id=site.owner_id).order_by("-released_at")
        too_many = list(of_owner.values_list("pk", flat=True)[MAX_RESERVATIONS:])
        SubdomainReservation.objects.filter(pk__in=too_many).delete()


def claim_subdomain(site: Site) -> None:
    """Remove the reservation of the subdomain that `site` now has.

    Runs in the caller's transaction, after the site was saved. Raises SubdomainTaken when the name is
    reserved for another owner.
    """
    reservations = SubdomainReservation.objects.filter(digest=_digest(site.subdomain))
    with tenancy.context(tenancy.SYSTEM):
        reservation = reservations.first()
        if reservation and site.pk != reservation.site_id and site.owner_id != reservation.owner_id:
            raise SubdomainTaken
        reservations.delete()


def transfer_reservations(site: Site) -> None:
    """Give the reservations of a site to its present owner."""
    with tenancy.context(tenancy.SYSTEM):
        SubdomainReservation.objects.filter(site_id=site.pk).update(owner_id=site.owner_id)


def delete_expired_reservations(*, before: datetime) -> int:
    """Delete the reservations of subdomains that were released before `before`. Returns how many.

    Runs in the tenancy context `system`.
    """
    return SubdomainReservation.objects.filter(released_at__lt=before).delete()[0]


def _digest(subdomain: str) -> str:
    return hashlib.sha256(subdomain.encode()).hexdigest()
