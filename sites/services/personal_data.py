"""Export and erase the personal data of a user that is stored in sites."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from accounts.models import User
from sites.models import Access, Invitation, Post, Preview, Release, Review, Revision, Site
from sites.services.sites import purge_queryset

SITE_FIELDS = ["id", "name", "subdomain", "status", "created_at", "updated_at", "deleted_at"]
POST_FIELDS = [
    "title",
    "slug",
    "excerpt",
    "tags",
    "blocks",
    "published_at",
    "live",
    "created_at",
    "updated_at",
    "deleted_at",
]


def export_personal_data(user_id: UUID) -> Iterator[tuple[str, Any]]:
    """Yield pairs of (file name, JSON rows): complete own sites, and the user's rows on other sites.

    Runs in the tenancy context `system`.
    """
    user = User.objects.get_queryset().get(pk=user_id)
    memberships = Access.objects.filter(user_id=user_id).exclude(role=Access.Role.OWNER)
    yield "memberships.json", list(memberships.values("site_id", "site__name", "role", "created_at"))
    invitations = Invitation.objects.filter(email=user.email)
    yield (
        "invitations.json",
        list(invitations.values("site_id", "email", "role", "created_at", "expires_at", "used_at")),
    )
    reviews = Review.objects.filter(author_id=user_id) | Review.objects.filter(editor_id=user_id)
    yield (
        "reviews.json",
        list(reviews.values("site_id", "status", "note", "comment", "created_at", "answered_at")),
    )
    posts_on_other_sites = Post.objects.filter(author_id=user_id).exclude(site__owner_id=user_id)
    yield (
        "posts_elsewhere.jsonl",
        posts_on_other_sites.values("site_id", *POST_FIELDS).iterator(chunk_size=100),
    )
    for site in Site.objects.get_queryset().filter(owner_id=user_id).select_related("draft"):
        yield from _export_site(site)


def _export_site(site: Site) -> Iterator[tuple[str, Any]]:
    folder = f"sites/{site.subdomain}"
    yield f"{folder}/site.json", {name: getattr(site, name) for name in SITE_FIELDS}
    yield f"{folder}/draft.json", site.draft.blueprint
    yield f"{folder}/members.json", list(site.access.values("user_id", "role", "created_at"))
    yield f"{folder}/schedules.json", list(site.schedules.values("act", "at", "note", "status", "created_at"))
    previews = Preview.objects.filter(site=site)
    yield f"{folder}/previews.json", list(previews.values("created_at", "expires_at"))
    posts = Post.objects.filter(site=site).order_by("id")
    yield f"{folder}/posts.jsonl", posts.values(*POST_FIELDS).iterator(chunk_size=100)
    # A blueprint has up to 10 MiB, so few of them are loaded at a time.
    releases = Release.objects.filter(site=site).order_by("id")
    yield (
        f"{folder}/releases.jsonl",
        releases.values("number", "note", "created_at", "blueprint").iterator(chunk_size=5),
    )
    revisions = Revision.objects.filter(site=site).order_by("id")
    yield (
        f"{folder}/revisions.jsonl",
        revisions.values("version", "created_at", "blueprint").iterator(chunk_size=5),
    )


def erase_person(user_id: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Delete a user's own sites and the invitations to their e-mail addresses. Returns counts by kind.

    Posts on other people's sites stay; the author's name disappears with the account. Runs in the tenancy
    context `system`.
    """
    own_sites = Site.objects.get_queryset().filter(owner_id=user_id)
    return {
        "sites": purge_queryset(own_sites) if user_id else 0,
        "invitations": Invitation.objects.filter(email__in=addresses).delete()[0],
    }
