"""Export and erase the personal data of a user that is stored in sites."""

from collections.abc import Iterator
from uuid import UUID

from accounts.models import User
from core.admission import cached_responses
from core.lifecycle import ExportedFile
from sites.models import Access, Draft, Invitation, Post, Preview, Release, Review, Revision, Site
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


def export_personal_data(user_id: UUID) -> Iterator[ExportedFile]:
    """Yield the files of a user's data export: complete own sites, and the user's rows on other sites.

    Runs in the tenancy context `system`.
    """
    user = User.objects.get_queryset().get(pk=user_id)
    memberships = Access.objects.filter(user_id=user_id).exclude(role=Access.Role.OWNER)
    yield (
        "memberships.json",
        lambda: list(memberships.values("site_id", "site__name", "role", "created_at")),
    )
    invitations = Invitation.objects.filter(email=user.email)
    yield (
        "invitations.json",
        lambda: list(invitations.values("site_id", "email", "role", "created_at", "expires_at", "used_at")),
    )
    reviews = Review.objects.filter(author_id=user_id) | Review.objects.filter(editor_id=user_id)
    yield (
        "reviews.json",
        lambda: list(reviews.values("site_id", "status", "note", "comment", "created_at", "answered_at")),
    )
    posts_on_other_sites = Post.objects.filter(author_id=user_id).exclude(site__owner_id=user_id)
    yield (
        "posts_elsewhere.jsonl",
        lambda: posts_on_other_sites.values("site_id", *POST_FIELDS).iterator(chunk_size=100),
    )
    for site in Site.objects.get_queryset().filter(owner_id=user_id).order_by("id"):
        yield from _export_site(site)


def _export_site(site: Site) -> Iterator[ExportedFile]:
    folder = f"sites/{site.subdomain}"
    yield f"{folder}/site.json", lambda: {name: getattr(site, name) for name in SITE_FIELDS}
    drafts = Draft.objects.filter(site=site)
    yield f"{folder}/draft.json", lambda: drafts.values_list("blueprint", flat=True).get()
    yield f"{folder}/members.json", lambda: list(site.access.values("user_id", "role", "created_at"))
    schedules = site.schedules.values("act", "at", "note", "status", "created_at")
    yield f"{folder}/schedules.json", lambda: list(schedules)
    previews = Preview.objects.filter(site=site)
    yield f"{folder}/previews.json", lambda: list(previews.values("created_at", "expires_at"))
    posts = Post.objects.filter(site=site).order_by("id")
    yield f"{folder}/posts.jsonl", lambda: posts.values(*POST_FIELDS).iterator(chunk_size=100)
    # A blueprint has up to 10 MiB, so few of them are loaded at a time.
    releases = Release.objects.filter(site=site).order_by("id")
    yield (
        f"{folder}/releases.jsonl",
        lambda: releases.values("number", "note", "created_at", "blueprint").iterator(chunk_size=5),
    )
    revisions = Revision.objects.filter(site=site).order_by("id")
    yield (
        f"{folder}/revisions.jsonl",
        lambda: revisions.values("version", "created_at", "blueprint").iterator(chunk_size=5),
    )


def erase_person(user_id: UUID | None, addresses: frozenset[str]) -> dict[str, int]:
    """Delete a user's own sites and the invitations to their e-mail addresses. Returns counts by kind.

    Posts on other people's sites stay; the author's name disappears with the account. Runs in the tenancy
    context `system`.
    """
    written_in = Post.objects.filter(author_id=user_id).values_list("site_id", flat=True)
    published = Release.objects.filter(author_id=user_id).values_list("site_id", flat=True)
    sites_of_others = written_in.union(published) if user_id else []
    cached_responses.invalidate_after_commit(*map(cached_responses.site_tag, sites_of_others))
    own_sites = Site.objects.get_queryset().filter(owner_id=user_id)
    return {
        "sites": purge_queryset(own_sites) if user_id else 0,
        "invitations": Invitation.objects.filter(email__in=addresses).delete()[0],
    }
