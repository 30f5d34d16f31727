"""A site with one member of each role, each of them signed in at the API."""

from dataclasses import dataclass
from typing import Any

from accounts.tests.factories import UserFactory
from conftest import Api, sign_in
from core import tenancy
from sites.models import Access, Site
from sites.tests.factories import SiteFactory, document, page


@dataclass
class Team:
    """A site and its members. `stranger` is a user without a role on it."""

    site: Site
    owner: Api
    editor: Api
    author: Api
    viewer: Api
    stranger: Api

    @property
    def host(self) -> str:
        return f"{self.site.subdomain}.localhost"

    def member(self, role: str) -> Api:
        member: Api = getattr(self, role)
        return member

    def path(self, suffix: str = "") -> str:
        """Return the API path of the site, or of a resource below it."""
        return f"sites/{self.site.pk}{'/' if suffix else ''}{suffix}"

    def save_draft(self, title: str, *, role: str = "author") -> Any:
        """Save the draft with another title of the site."""
        blueprint = document(page(), settings={"title": title})
        return self.member(role).put(self.path("blueprint"), blueprint, if_match="*")


def new_team(**site_fields: Any) -> Team:
    members = {
        role: sign_in(UserFactory(name=f"The {role}"))
        for role in ("owner", "editor", "author", "viewer", "stranger")
    }
    site = SiteFactory(owner=members["owner"].user, blueprint=document(page()), **site_fields)
    with tenancy.context(tenancy.SYSTEM):
        for role in ("editor", "author", "viewer"):
            Access.objects.create(site=site, user=members[role].user, role=role)
    return Team(site=site, **members)
