"""What sites know of a person, and how it goes."""

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


def export_personal_data(person: UUID) -> Iterator[tuple[str, Any]]:
    """Sites of one's own as a whole; of the sites of others what one did there. In context `system`."""
    user = User.objects.get_queryset().get(pk=person)
    memberships = Access.objects.filter(user_id=person).exclude(role=Access.Role.OWNER)
    yield "memberships.json", list(memberships.values("site_id", "site__name", "role", "created_at"))
    invitations = Invitation.objects.filter(email=user.email)
    yield (
        "invitations.json",
        list(invitations.values("site_id", "email", "role", "created_at", "expires_at", "used_at")),
    )
    reviews = Review.objects.filter(author_id=person) | Review.objects.filter(editor_id=person)
    yield (
        "reviews.json",
        list(reviews.values("site_id", "state", "note", "comment", "created_at", "answered_at")),
    )
    elsewhere = Post.objects.filter(author_id=person).exclude(site__owner_id=person)
    yield "posts_elsewhere.jsonl", elsewhere.values("site_id", *POST_FIELDS).iterator(chunk_size=100)
    for site in Site.objects.get_queryset().filter(owner_id=person).select_related("draft"):
        yield from _site(site)


def _site(site: Site) -> Iterator[tuple[str, Any]]:
    folder = f"sites/{site.subdomain}"
    yield f"{folder}/site.json", {name: getattr(site, name) for name in SITE_FIELDS}
    yield f"{folder}/draft.json", site.draft.blueprint
    yield f"{folder}/members.json", list(site.access.values("user_id", "role", "created_at"))
    yield f"{folder}/schedules.json", list(site.schedules.values("act", "at", "note", "state", "created_at"))
    previews = Preview.objects.filter(site=site)
    yield f"{folder}/previews.json", list(previews.values("created_at", "expires_at"))
    yield (
        f"{folder}/posts.jsonl",
        Post.objects.filter(site=site).order_by("id").values(*POST_FIELDS).iterator(chunk_size=100),
    )
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


def erase_person(person: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Sites of their own go with everything in them, and invitations to their addresses; on the sites of
    others their name is gone with their account. In context `system`.
    """
    return {
        "sites": purge_queryset(Site.objects.get_queryset().filter(owner_id=person)) if person else 0,
        "invitations": Invitation.objects.filter(email__in=addresses).delete()[0],
    }
