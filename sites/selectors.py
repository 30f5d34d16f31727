"""Reads of what is published: what pages, feeds and the public API are made of.

In context `public`, or a wider one.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import models

from sites.models import FormerSlug, Post


@dataclass(frozen=True, slots=True)
class PublishedPosts:
    """The published posts of one site, newest first.

    Nothing is asked of the database before somebody wants posts.
    """

    site_id: UUID

    def posts(self, *, tag: str = "", limit: int, offset: int = 0) -> list[Post]:
        """Without their blocks. One query."""
        return list(self._order(self.found(tag))[offset : offset + limit])

    def post(self, slug: str) -> Post | None:
        """The whole post."""
        found: Post | None = self.found("").filter(slug=slug).defer(None).first()
        return found

    def slugs(self, *, limit: int) -> list[str]:
        return list(self._order(self.found(""))[:limit].values_list("slug", flat=True))

    def has(self, slug: str) -> bool:
        return Post.objects.shown().filter(site_id=self.site_id, slug=slug).exists()

    def moved(self, slug: str) -> str | None:
        """The slug that a published post has now which had `slug` before."""
        found = FormerSlug.objects.filter(
            site_id=self.site_id, slug=slug, post__live=True, post__deleted_at=None
        )
        return found.values_list("post__slug", flat=True).first()

    def beside(self, post: Post) -> tuple[Post | None, Post | None]:
        """The post before this one and the one after. Two queries."""
        found = self.found("").exclude(pk=post.pk)
        earlier = models.Q(published_at__lt=post.published_at) | models.Q(
            published_at=post.published_at, pk__lt=post.pk
        )
        return self._order(found.filter(earlier)).first(), self._order(
            found.exclude(earlier)
        ).reverse().first()

    def found(self, tag: str) -> Any:
        """All of them as a queryset, in no order, without their blocks."""
        found = Post.objects.shown().filter(site_id=self.site_id).select_related("author").defer("blocks")
        return found.filter(tags__contains=[tag]) if tag else found

    @staticmethod
    def _order(found: Any) -> Any:
        return found.order_by("-published_at", "-pk")
