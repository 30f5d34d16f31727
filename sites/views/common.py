"""What the views of sites share: the fence, the site of a route, and the role that an action needs on it."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework.permissions import SAFE_METHODS

from audit import actors
from audit.actors import Actor
from core.http.query_params import text_param
from core.http.viewsets import ApiViewSet
from sites.errors import RoleTooLow
from sites.models import Access, Site, SiteQuerySet
from sites.services.members import hold_role
from sites.serving.post_pages import MAX_TAG_CHARACTERS

Role = Access.Role

DOCUMENT = {
    "type": "object",
    "description": "A blueprint; its schema is at /api/v1/blueprint/schema.",
    "additionalProperties": True,
}


def tag(text: str) -> str:
    """A tag of a post, for a filter. Raises ValueError."""
    if len(text) > MAX_TAG_CHARACTERS:
        raise ValueError
    return text_param(text)


class OfSiteViewSet(ApiViewSet):
    """What belongs to one site: found through the sites that the caller has a role on.

    `needs` says which role each action takes; a site without the role is 403, one without any is 404. A write
    holds the role until it is done, so that whoever takes it away waits, and whoever lost it while waiting is
    refused; a view that changes roles holds it `alone`.
    """

    fenced = True
    needs: ClassVar[dict[str, Access.Role]] = {}
    alone: ClassVar[bool] = False

    @property
    def actor(self) -> Actor:
        return actors.user(self.caller)

    def sites(self) -> SiteQuerySet:
        found: SiteQuerySet = Site.objects.alive().visible_to(self.caller)
        return found

    def site(self, needed: Access.Role | None = None) -> Any:
        """The site, with the caller's `role` on it. Raises Http404, RoleTooLow."""
        found: Any = get_object_or_404(self.sites(), pk=self.kwargs["pk"])
        if self.request.method not in SAFE_METHODS:
            found.role = hold_role(found.pk, self.caller.pk, alone=self.alone)
        if not Role(found.role).reaches(needed or self.needs[self.action]):
            raise RoleTooLow
        return found
