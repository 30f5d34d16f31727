"""Fills the database as a used platform would: owners, sites, drafts, releases, posts and members.

The rows are written in bulk, and are those that the services would have written.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.credentials.known_devices import Device
from accounts.credentials.tokens import make_access_token
from accounts.models import User
from accounts.services.sessions import open_session
from benchmarks.content.documents import generate_blueprint, size_of
from core import tenancy
from core.ids import uuid7
from sites.models import Access, Draft, Post, Release, Revision, Site
from sites.services.sites import MAX_SITES

PAGES_PER_SITE = 20
SITES_PER_OWNER = 8  # the first owner has `MAX_SITES` instead
SITES_WITH_POSTS = 100  # the number of sites that have posts
POSTS_PER_SITE = 200
MEMBER_ROLES = [
    Access.Role.EDITOR,
    Access.Role.AUTHOR,
    Access.Role.VIEWER,
]  # each fourth site has a member with each role
BATCH_SIZE = 50


@dataclass(frozen=True, slots=True)
class SeededSite:
    """A site, the id of its owner, and an access token of the owner."""

    id: str
    subdomain: str
    owner: Any
    token: str

    @property
    def host(self) -> str:
        return f"{self.subdomain}.localhost"


def create_sites(sites: int) -> list[SeededSite]:
    """Create `sites` published sites of `PAGES_PER_SITE` pages, and run ANALYZE.

    The first `MAX_SITES` of them have the same owner.
    """
    owners = _create_owners(1 + max(0, sites - MAX_SITES + SITES_PER_OWNER - 1) // SITES_PER_OWNER)
    tokens = {owner.pk: _access_token(owner) for owner in owners}
    seeded_sites = []
    with tenancy.context(tenancy.SYSTEM):
        for start in range(0, sites, BATCH_SIZE):
            batch = [
                Site(owner=_choose_owner(number, owners), name=f"Site {number}", subdomain=f"bench-{number}")
                for number in range(start, min(start + BATCH_SIZE, sites))
            ]
            _create_rows(batch, start, pages=PAGES_PER_SITE)
            seeded_sites += [
                SeededSite(str(site.pk), site.subdomain, site.owner_id, tokens[site.owner_id])
                for site in batch
            ]
        _add_members(seeded_sites, owners)
        _add_posts(seeded_sites)
    analyze()
    return seeded_sites


def create_large_site(owner: SeededSite, *, pages: int) -> SeededSite:
    """Create one more site with `pages` pages for the owner of an existing site."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site(owner_id=owner.owner, name="Large", subdomain="bench-large")
        _create_rows([site], 0, pages=pages)
    return SeededSite(str(site.pk), site.subdomain, owner.owner, owner.token)


def analyze() -> None:
    """Update the statistics of the planner, as autovacuum does on a platform that runs for a while."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def count_rows() -> dict[str, Any]:
    """The number of rows of each model, and the size of the database in MiB."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size = cursor.fetchone()[0]
    with tenancy.context(tenancy.SYSTEM):
        counts = {
            model.__name__.lower(): model.objects.count() for model in (Site, Access, Revision, Release, Post)
        }
    return {**counts, "database_mib": round(size / 1024**2)}


def _create_owners(number: int) -> list[User]:
    owners = [User(email=f"owner-{n}@example.com", name=f"Owner {n}") for n in range(number)]
    for owner in owners:
        owner.set_unusable_password()
    return User.objects.bulk_create(owners)


def _choose_owner(number: int, owners: list[User]) -> User:
    return owners[0] if number < MAX_SITES else owners[1 + (number - MAX_SITES) // SITES_PER_OWNER]


def _access_token(owner: User) -> str:
    return make_access_token(owner, open_session(owner, device=Device(), now=timezone.now(), quietly=True))[0]


def _create_rows(sites: list[Site], start: int, *, pages: int) -> None:
    """Write the rows of sites that were saved once and published once."""
    blueprints = [generate_blueprint(start + number, pages=pages) for number in range(len(sites))]
    Site.objects.bulk_create(sites)
    Access.objects.bulk_create(
        Access(site=site, user_id=site.owner_id, role=Access.Role.OWNER) for site in sites
    )
    drafts = []
    revisions = []
    releases = []
    for site, document in zip(sites, blueprints, strict=True):
        shared: dict[str, Any] = {"site": site, "blueprint": document, "author_id": site.owner_id}
        drafts.append(Draft(**shared))
        revisions.append(Revision(**shared, version=1, size=size_of(document)))
        releases.append(Release(**shared, number=1))
    Draft.objects.bulk_create(drafts)
    Revision.objects.bulk_create(revisions)
    Release.objects.bulk_create(releases)
    for site, release in zip(sites, releases, strict=True):
        site.status = Site.Status.LIVE
        site.live_release = release
        site.next_release = 2
    Site.objects.bulk_update(sites, ["status", "live_release", "next_release"])


def _add_members(seeded_sites: list[SeededSite], owners: list[User]) -> None:
    """Give three other owners a role on each fourth site."""
    memberships = [
        Access(site_id=seeded_site.id, user=owners[(number + step) % len(owners)], role=role)
        for number, seeded_site in enumerate(seeded_sites[::4])
        for step, role in enumerate(MEMBER_ROLES)
        if owners[(number + step) % len(owners)].pk != seeded_site.owner
    ]
    Access.objects.bulk_create(memberships, batch_size=500, ignore_conflicts=True)


def _add_posts(seeded_sites: list[SeededSite]) -> None:
    """Publish `POSTS_PER_SITE` posts on each of the last `SITES_WITH_POSTS` sites."""
    now = timezone.now()
    blocks = generate_blueprint(0, pages=PAGES_PER_SITE)["pages"][0]["blocks"][1:4]
    for seeded_site in seeded_sites[-SITES_WITH_POSTS:]:
        Post.objects.bulk_create(
            Post(
                id=uuid7(),
                site_id=seeded_site.id,
                slug=f"post-{number}",
                title=f"Post {number} of {seeded_site.subdomain}",
                excerpt="What happened this week, in a few lines. " * 4,
                blocks=blocks,
                tags=["news", f"tag-{number % 7}"],
                author_id=seeded_site.owner,
                published_at=now - timedelta(hours=number + 1),
                live=True,
            )
            for number in range(POSTS_PER_SITE)
        )
