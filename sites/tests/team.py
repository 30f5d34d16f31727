"""A site with somebody of each role on it."""

from dataclasses import dataclass
from typing import Any

from accounts.tests.factories import UserFactory
from conftest import ApiClient, sign_in
from core import tenancy
from sites.models import Access, Site
from sites.tests.factories import SiteFactory, document, page


@dataclass
class Team:
    """`site` and whoever works on it, each signed in; `stranger` has no role."""

    site: Site
    owner: ApiClient
    editor: ApiClient
    author: ApiClient
    viewer: ApiClient
    stranger: ApiClient

    @property
    def host(self) -> str:
        return f"{self.site.subdomain}.localhost"

    def of(self, role: str) -> ApiClient:
        found: ApiClient = getattr(self, role)
        return found

    def path(self, what: str = "") -> str:
        return f"sites/{self.site.pk}{'/' if what else ''}{what}"

    def save(self, title: str, *, who: str = "author") -> Any:
        """Save the draft with another title."""
        return self.of(who).put(
            self.path("blueprint"), document(page(), settings={"title": title}), if_match="*"
        )


def new_team(**facts: Any) -> Team:
    people = {
        role: sign_in(UserFactory(name=f"The {role}"))
        for role in ("owner", "editor", "author", "viewer", "stranger")
    }
    site = SiteFactory(owner=people["owner"].user, blueprint=document(page()), **facts)
    with tenancy.context(tenancy.SYSTEM):
        for role in ("editor", "author", "viewer"):
            Access.objects.create(site=site, user=people[role].user, role=role)
    return Team(site=site, **people)
