"""A platform in use: owners, sites, drafts, releases, posts, members.

Written in bulk, as the services would have left it.
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
from benchmarks.content.documents import blueprint_of, size_of
from core import tenancy
from core.ids import uuid7
from sites.models import Access, Draft, Post, Release, Revision, Site
from sites.services.sites import MAX_SITES

PAGES = 20
OTHER_SITES = 8  # of each owner but the first, who has as many as one may
# how many sites have posts, and how many each
WITH_POSTS = 100
POSTS = 200
MEMBERS = [Access.Role.EDITOR, Access.Role.AUTHOR, Access.Role.VIEWER]  # of each fourth site
BATCH = 50


@dataclass(frozen=True, slots=True)
class Place:
    """One site, and the access token of its owner."""

    id: str
    subdomain: str
    owner: Any
    token: str

    @property
    def host(self) -> str:
        return f"{self.subdomain}.localhost"


def fill(sites: int) -> list[Place]:
    """Make `sites` published sites of `PAGES` pages and ANALYZE.

    The first `MAX_SITES` of them have one owner.
    """
    owners = _owners(1 + max(0, sites - MAX_SITES + OTHER_SITES - 1) // OTHER_SITES)
    tokens = {owner.pk: _token(owner) for owner in owners}
    places = []
    with tenancy.context(tenancy.SYSTEM):
        for start in range(0, sites, BATCH):
            made = [
                Site(owner=_owner_of(number, owners), name=f"Site {number}", subdomain=f"bench-{number}")
                for number in range(start, min(start + BATCH, sites))
            ]
            _write(made, start, pages=PAGES)
            places += [
                Place(str(site.pk), site.subdomain, site.owner_id, tokens[site.owner_id]) for site in made
            ]
        _add_members(places, owners)
        _add_posts(places)
    analyze()
    return places


def large(owner: Place, *, pages: int) -> Place:
    """One more site, of another owner than of the many."""
    with tenancy.context(tenancy.SYSTEM):
        site = Site(owner_id=owner.owner, name="Large", subdomain="bench-large")
        _write([site], 0, pages=pages)
    return Place(str(site.pk), site.subdomain, owner.owner, owner.token)


def analyze() -> None:
    """What autovacuum has done on any platform that runs for a while."""
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def rows() -> dict[str, Any]:
    """How much there is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        size = cursor.fetchone()[0]
    with tenancy.context(tenancy.SYSTEM):
        counts = {
            model.__name__.lower(): model.objects.count() for model in (Site, Access, Revision, Release, Post)
        }
    return {**counts, "database_mib": round(size / 1024**2)}


def _owners(number: int) -> list[User]:
    made = [User(email=f"owner-{n}@example.com", name=f"Owner {n}") for n in range(number)]
    for owner in made:
        owner.set_unusable_password()
    return User.objects.bulk_create(made)


def _owner_of(number: int, owners: list[User]) -> User:
    return owners[0] if number < MAX_SITES else owners[1 + (number - MAX_SITES) // OTHER_SITES]


def _token(owner: User) -> str:
    return make_access_token(owner, open_session(owner, device=Device(), now=timezone.now(), quietly=True))[0]


def _write(sites: list[Site], start: int, *, pages: int) -> None:
    """Rows of sites that were saved once and published once."""
    blueprints = [blueprint_of(start + number, pages=pages) for number in range(len(sites))]
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


def _add_members(places: list[Place], owners: list[User]) -> None:
    """On each fourth site three other owners have a role."""
    made = [
        Access(site_id=place.id, user=owners[(number + step) % len(owners)], role=role)
        for number, place in enumerate(places[::4])
        for step, role in enumerate(MEMBERS)
        if owners[(number + step) % len(owners)].pk != place.owner
    ]
    Access.objects.bulk_create(made, batch_size=500, ignore_conflicts=True)


def _add_posts(places: list[Place]) -> None:
    """The last `WITH_POSTS` sites have `POSTS` published posts each."""
    now = timezone.now()
    blocks = blueprint_of(0, pages=PAGES)["pages"][0]["blocks"][1:4]
    for place in places[-WITH_POSTS:]:
        Post.objects.bulk_create(
            Post(
                id=uuid7(),
                site_id=place.id,
                slug=f"post-{number}",
                title=f"Post {number} of {place.subdomain}",
                excerpt="What happened this week, in a few lines. " * 4,
                blocks=blocks,
                tags=["news", f"tag-{number % 7}"],
                author_id=place.owner,
                published_at=now - timedelta(hours=number + 1),
                live=True,
            )
            for number in range(POSTS)
        )
