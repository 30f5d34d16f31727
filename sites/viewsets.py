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
from sites.serving.post_pages import MAX_TAG

Role = Access.Role

DOCUMENT = {
    "type": "object",
    "description": "A blueprint; its schema is at /api/v1/blueprint/schema.",
    "additionalProperties": True,
}


def tag(text: str) -> str:
    """A tag of a post, for a filter. Raises ValueError."""
    if len(text) > MAX_TAG:
        raise ValueError
    return text_param(text)


class SiteScopedViewSet(ApiViewSet):
    """Base class of views of what belongs to one site, found through the sites that the caller has a role on.

    A site on which the caller has no role is 404; a lower role than the policy of the action asks for is 403. A write
    locks the caller's role until it is done, so that a removal of the role waits for it. A view with `locks_roles`
    changes roles and locks them exclusively.
    """

    row_level_security = True
    locks_roles: ClassVar[bool] = False

    @property
    def actor(self) -> Actor:
        return actors.user(self.caller)

    def sites(self) -> SiteQuerySet:
        found: SiteQuerySet = Site.objects.alive().visible_to(self.caller)
        return found

    def site(self, needed: Access.Role | None = None) -> Any:
        """Return the site of the route, with the caller's `role` on it. Raises Http404, RoleTooLow.

        `needed` replaces the role of the action's policy.
        """
        if needed is None:
            assert self.policy is not None  # an action that is running has one
            needed = Role(self.policy.site_role)
        found: Any = get_object_or_404(self.sites(), pk=self.kwargs["pk"])
        if self.request.method not in SAFE_METHODS:
            found.role = hold_role(found.pk, self.caller.pk, alone=self.locks_roles)
        if not Role(found.role).reaches(needed):
            raise RoleTooLow
        return found
