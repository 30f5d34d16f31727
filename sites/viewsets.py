"""The base class of views of one site, which checks the caller's role, and what these views share."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from rest_framework.permissions import SAFE_METHODS

from audit import actors
from audit.actors import Actor
from core.http.query_params import text_param
from core.http.viewsets import ApiViewSet
from sites.errors import RoleTooLow
from sites.models import Access, Site, SiteQuerySet
from sites.services.members import lock_role
from sites.serving.post_pages import MAX_TAG_CHARACTERS

Role = Access.Role

DOCUMENT = {
    "type": "object",
    "description": "A blueprint; its schema is at /api/v1/blueprint/schema.",
    "additionalProperties": True,
}


def tag_param(text: str) -> str:
    """Parse the tag of a post from a query parameter. Raises ValueError."""
    if len(text) > MAX_TAG_CHARACTERS:
        raise ValueError
    return text_param(text)


class SiteScopedViewSet(ApiViewSet):
    """Base class of views of one site, which is found among the sites that the caller has a role on.

    No role on the site is 404; a lower role than the policy of the action requires is 403. Actions that write
    lock the caller's role until their transaction ends, so that it cannot be taken away in between. A view
    that changes roles sets `locks_roles` to lock the role exclusively.
    """

    row_level_security = True
    locks_roles: ClassVar[bool] = False

    @property
    def actor(self) -> Actor:
        return actors.user(self.caller)

    def check_access(self) -> None:
        """Raise Http404 or RoleTooLow when the caller lost the role on the site that the action requires."""
        if "pk" in self.kwargs and self.policy and self.policy.site_role:
            with self.scope():
                self.site()

    def sites(self) -> SiteQuerySet:
        """Return the sites that the caller has a role on, annotated with that `role`."""
        sites: SiteQuerySet = Site.objects.alive().visible_to(self.caller)
        return sites

    def site(self, required_role: Access.Role | None = None) -> Any:
        """Return the site of the URL with the caller's `role` on it. Raises Http404, RoleTooLow.

        The required role is `required_role`, or else that of the action's policy.
        """
        if required_role is None:
            assert self.policy is not None  # an action that is running has one
            required_role = Role(self.policy.site_role)
        site: Any = get_object_or_404(self.sites(), pk=self.kwargs["pk"])
        if self.request.method not in SAFE_METHODS:
            site.role = lock_role(site.pk, self.caller.pk, exclusive=self.locks_roles)
        if not Role(site.role).at_least(required_role):
            raise RoleTooLow
        return site
