"""Reads of published posts, for pages, feeds and the public API, and of stored blueprints.

Those of posts run in the tenancy context `public` or in one that sees more.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404

from core.storage.memory_cache import MemoryCache
from sites.models import FormerSlug, Post, PostQuerySet

# Bytes of JSON. In memory a blueprint takes about six times as much, so one of the largest fits.
MAX_PARSED_BYTES = 12 * 1024 * 1024
MIN_PARSED_BYTES = 64 * 1024  # a smaller blueprint is parsed faster than it is worth


@dataclass(frozen=True, slots=True)
class ParsedBlueprint:
    """A blueprint from the database, and the bytes of its JSON."""

    value: dict[str, Any]
    size: int


_parsed_blueprints: MemoryCache[tuple[str, UUID, int], ParsedBlueprint] = MemoryCache(
    MAX_PARSED_BYTES, size_of=lambda blueprint: blueprint.size
)


def get_blueprint(rows: QuerySet[Any]) -> dict[str, Any]:
    """Return the blueprint of the only row of a queryset of drafts, revisions or releases. Raises Http404.

    A large one is parsed once for each version and process. Callers must not change it. One or two queries.
    """
    row = get_object_or_404(rows.defer("blueprint"))
    if row.size < MIN_PARSED_BYTES:
        return dict(row.blueprint)
    # Revisions and releases do not change, so the version of a draft alone tells two contents apart.
    key = (type(row).__name__, row.pk, getattr(row, "version", 0))
    parsed = _parsed_blueprints.get_or_create(key, lambda: ParsedBlueprint(row.blueprint, row.size))
    assert parsed is not None
    return parsed.value


@dataclass(frozen=True, slots=True)
class PublishedPosts:
    """The published posts of one site, newest first. Queries run in the methods only."""

    site_id: UUID

    def posts(self, *, tag: str = "", limit: int, offset: int = 0) -> list[Post]:
        """Return posts without their blocks. One query."""
        return list(self._newest_first(self.queryset(tag))[offset : offset + limit])

    def post(self, slug: str) -> Post | None:
        """Return a post with its blocks. One query."""
        post: Post | None = self.queryset().filter(slug=slug).defer(None).first()
        return post

    def slugs(self, *, limit: int) -> list[str]:
        """Return the slugs of the newest `limit` posts. One query."""
        return list(self._newest_first(self.queryset())[:limit].values_list("slug", flat=True))

    def has(self, slug: str) -> bool:
        """Return whether a published post has this slug. One query."""
        return Post.objects.published().filter(site_id=self.site_id, slug=slug).exists()

    def current_slug(self, former_slug: str) -> str | None:
        """Return the current slug of the published post that once had `former_slug`. One query."""
        former_slugs = FormerSlug.objects.filter(
            site_id=self.site_id, slug=former_slug, post__live=True, post__deleted_at=None
        )
        return former_slugs.values_list("post__slug", flat=True).first()

    def neighbours(self, post: Post) -> tuple[Post | None, Post | None]:
        """Return the next older and the next newer post, without their blocks. Two queries."""
        other_posts = self.queryset().exclude(pk=post.pk)
        is_older = Q(published_at__lt=post.published_at) | Q(published_at=post.published_at, pk__lt=post.pk)
        older = self._newest_first(other_posts.filter(is_older)).first()
        newer = self._newest_first(other_posts.exclude(is_older)).reverse().first()
        return older, newer

    def queryset(self, tag: str = "") -> PostQuerySet:
        """Return the posts, with `tag` if it is not empty, unordered, without their blocks."""
        posts: PostQuerySet = (
            Post.objects.published().filter(site_id=self.site_id).select_related("author").defer("blocks")
        )
        return posts.filter(tags__contains=[tag]) if tag else posts

    @staticmethod
    def _newest_first(posts: PostQuerySet) -> PostQuerySet:
        return posts.order_by("-published_at", "-pk")
