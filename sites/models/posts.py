"""Posts of a site, and their former slugs."""

from datetime import datetime
from typing import Self

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from audit.subjects import Subject
from core.ids import uuid7
from core.models import AliveQuerySet
from core.storage.documents import DocumentField
from sites.database_functions import size_field
from sites.models.sites import Site


class PostQuerySet(AliveQuerySet["Post"]):
    def published(self) -> Self:
        """Posts that visitors see when the site is live."""
        return self.alive().filter(live=True)

    def due(self, now: datetime) -> Self:
        """Posts that are to be published at `now` or earlier and are not live yet."""
        return self.alive().filter(live=False, published_at__lte=now)


class Post(models.Model):
    """An article. Visitors see it while it is `live`, which it becomes at `published_at`."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="posts")
    slug = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    excerpt = models.CharField(max_length=500, blank=True, default="")
    blocks = DocumentField(default=list)
    size = size_field("title", "excerpt", "blocks")
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    published_at = models.DateTimeField(null=True, blank=True)
    live = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = PostQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint("site", "slug", name="post_slug"),
            models.CheckConstraint(name="post_live", condition=Q(live=False) | ~Q(published_at=None)),
        ]
        indexes = [
            models.Index(
                "site", "published_at", "id", name="post_shown", condition=Q(live=True, deleted_at=None)
            ),
            models.Index("published_at", name="post_due", condition=Q(live=False, deleted_at=None)),
            models.Index("deleted_at", name="post_deleted", condition=~Q(deleted_at=None)),
        ]

    def __str__(self) -> str:
        return self.title

    @property
    def byline(self) -> str:
        """The author's name for visitors; empty for a closed account. Use `select_related("author")`."""
        return self.author.name if self.author and self.author.deleted_at is None else ""

    def as_subject(self) -> Subject:
        return Subject("post", self.pk, self.title, site_id=self.site_id, owner_id=self.author_id)


class FormerSlug(models.Model):
    """An earlier slug of a post. Its URL redirects to the current one.

    Another post cannot take the slug for SOFT_DELETE_FOR after it was released.
    """

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    slug = models.CharField(max_length=100)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="former_slugs")
    released_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint("site", "slug", name="former_slug_once")]
