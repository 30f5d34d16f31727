"""Sites, their drafts, what was published, and who has access.

All but `Access` stand behind row-level security.
"""

from datetime import datetime
from typing import Protocol, Self
from uuid import UUID

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Func, Q, Value

from audit.subjects import Subject
from core.ids import uuid7
from core.models import AliveQuerySet, Job


class HasPrimaryKey(Protocol):
    """A user's row, or a caller known by key only."""

    @property
    def pk(self) -> UUID: ...


class JsonPathQueryArray(Func):
    """All that an SQL/JSON path finds in a JSON field, as a list. The path is ours, never a customer's."""

    function = "jsonb_path_query_array"
    output_field = models.JSONField()

    def __init__(self, field: str, path: str) -> None:
        super().__init__(F(field), template=f"%(function)s(%(expressions)s, '{path}')")


class BlueprintWithOnePage(Func):
    """A blueprint with the blocks of the page at `path` alone; the other pages keep the rest."""

    function = "sites_with_one_page"
    output_field = models.JSONField()

    def __init__(self, field: str, path: str) -> None:
        super().__init__(F(field), Value(path, output_field=models.TextField()))


class PageCount(Func):
    """How many pages a blueprint has."""

    template = "coalesce(jsonb_array_length(%(expressions)s -> 'pages'), 0)"
    output_field = models.IntegerField()


class NextNumber(Func):
    """The next number of a site: small, for tables with billions of rows, and never shown."""

    template = "nextval('sites_number'::regclass)"
    output_field = models.IntegerField()


class SiteQuerySet(AliveQuerySet["Site"]):
    def visible_to(self, user: HasPrimaryKey) -> Self:
        """Sites that `user` has a role on, with that `role`. The first fence."""
        return self.filter(access__user_id=user.pk).annotate(role=F("access__role"))

    def routed(self) -> Self:
        """Sites that visitors may see."""
        return self.alive().filter(status=Site.Status.LIVE)


class Site(models.Model):
    """A website. People edit `draft`; visitors see `live_release`; `sites_access` says who may do what."""

    class Status(models.TextChoices):
        DRAFT = "draft"
        LIVE = "live"
        ARCHIVED = "archived"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="sites")
    name = models.CharField(max_length=120)
    subdomain = models.CharField(max_length=63, unique=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.DRAFT)
    live_release = models.ForeignKey(
        "Release", on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    number = models.IntegerField(unique=True, editable=False, db_default=NextNumber())
    next_release = models.PositiveIntegerField(default=1)
    posts_version = models.PositiveIntegerField(
        default=0, help_text="Counts changes of what visitors see of its posts."
    )
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = SiteQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(name="site_live", condition=~Q(status="live") | ~Q(live_release=None)),
            models.CheckConstraint(
                name="site_subdomain", condition=Q(subdomain__regex=r"^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$")
            ),
        ]
        indexes = [models.Index("deleted_at", name="site_deleted", condition=~Q(deleted_at=None))]

    def __str__(self) -> str:
        return self.name

    def as_subject(self) -> Subject:
        return Subject("site", self.pk, self.name, site_id=self.pk, owner_id=self.owner_id)


class Access(models.Model):
    """Who may do what on a site. Ids only: policies read this table, so it has none of its own."""

    class Role(models.TextChoices):
        """Each may do what the ones after it may: publish and edit all, write and ask for review, only look."""

        OWNER = "owner"
        EDITOR = "editor"
        AUTHOR = "author"
        VIEWER = "viewer"

        def reaches(self, needed: "Access.Role") -> bool:
            order = list(Access.Role)
            return order.index(self) <= order.index(needed)

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="access")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="site_access")
    role = models.CharField(max_length=10, choices=Role)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "access"
        constraints = [
            models.UniqueConstraint("user", "site", name="access_once"),
            models.UniqueConstraint("site", condition=Q(role="owner"), name="access_one_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.user_id}"


class Invitation(models.Model):
    """A place on a site for whoever reads the mailbox of `email`. Its token is computed, never stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(
        max_length=10, choices=[choice for choice in Access.Role.choices if choice[0] != "owner"]
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, help_text="When it was accepted, withdrawn or replaced.")

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint("site", "email", condition=Q(used_at=None), name="invitation_open_once")
        ]
        indexes = [models.Index("author", "created_at", name="invitation_author")]

    def __str__(self) -> str:
        return f"invitation as {self.role}"

    def as_subject(self) -> Subject:
        return Subject("invitation", self.pk, site_id=self.site_id)


class Draft(models.Model):
    """What people edit. `version` counts its saves."""

    site = models.OneToOneField(Site, on_delete=models.CASCADE, primary_key=True, related_name="draft")
    blueprint = models.JSONField()
    version = models.PositiveIntegerField(default=1)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    updated_at = models.DateTimeField(auto_now=True)


class Release(models.Model):
    """What was published, for ever as it was: a trigger refuses changes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    blueprint = models.JSONField()
    note = models.CharField(max_length=500, blank=True, default="")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("site", "number", name="release_number")]

    def as_subject(self) -> Subject:
        return Subject("release", self.pk, site_id=self.site_id)

    def __str__(self) -> str:
        return f"release {self.number}"


class Revision(models.Model):
    """The draft as one save left it: a trigger refuses changes, age thins them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="revisions")
    version = models.PositiveIntegerField()
    blueprint = models.JSONField()
    size = models.PositiveIntegerField(help_text="Bytes of JSON.")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("site", "version", name="revision_version")]

    def as_subject(self) -> Subject:
        return Subject("revision", self.pk, site_id=self.site_id)

    def __str__(self) -> str:
        return f"revision {self.version}"


class Schedule(Job):
    """A publish or unpublish at `at`.

    A publish shows `revision`: what the draft was when it was asked for.
    """

    class Act(models.TextChoices):
        PUBLISH = "publish"
        UNPUBLISH = "unpublish"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="schedules")
    act = models.CharField(max_length=10, choices=Act)
    at = models.DateTimeField()
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, null=True, related_name="+")
    note = models.CharField(max_length=500, blank=True, default="")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    refused = models.CharField(
        max_length=40, blank=True, default="", help_text="Why it was not done when its time came."
    )

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(name="schedule_revision", condition=Q(act="unpublish") ^ ~Q(revision=None))
        ]
        indexes = [models.Index("due_at", name="schedule_due", condition=Q(state__in=["waiting", "running"]))]

    def __str__(self) -> str:
        return f"{self.act} at {self.at:%Y-%m-%d %H:%M}"

    def as_subject(self) -> Subject:
        return Subject("schedule", self.pk, site_id=self.site_id)


class Review(models.Model):
    """An author asks an editor to publish `revision`; the editor does, or returns it with a comment."""

    class State(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        RETURNED = "returned"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="reviews")
    revision = models.ForeignKey(Revision, on_delete=models.SET_NULL, null=True, related_name="+")
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    note = models.CharField(max_length=500, blank=True, default="")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    comment = models.CharField(max_length=2000, blank=True, default="")
    editor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    answered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("site", condition=Q(state="open"), name="review_open_once")]

    def __str__(self) -> str:
        return f"{self.state} review"

    def as_subject(self) -> Subject:
        return Subject("review", self.pk, site_id=self.site_id)


class Preview(models.Model):
    """A link that shows the draft, one revision or one post to whoever has it, until it expires or this row
    goes.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="previews")
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, null=True, related_name="+")
    post = models.ForeignKey("Post", on_delete=models.CASCADE, null=True, related_name="+")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index("expires_at", name="preview_expires")]

    def __str__(self) -> str:
        return f"preview until {self.expires_at:%Y-%m-%d %H:%M}"

    def as_subject(self) -> Subject:
        return Subject("preview", self.pk, site_id=self.site_id)


class PostQuerySet(AliveQuerySet["Post"]):
    def shown(self) -> Self:
        """Posts that visitors of a live site see."""
        return self.alive().filter(live=True)

    def due(self, now: datetime) -> Self:
        """Posts whose time has come and that visitors do not see yet."""
        return self.alive().filter(live=False, published_at__lte=now)


class Post(models.Model):
    """An article. Visitors see it while it is `live`: from `published_at` on, which may lie ahead."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="posts")
    slug = models.CharField(max_length=100)
    title = models.CharField(max_length=200)
    excerpt = models.CharField(max_length=500, blank=True, default="")
    blocks = models.JSONField(default=list)
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
        """Who wrote it, for visitors; nobody once that account is closed. Select `author` with it."""
        return self.author.name if self.author and self.author.deleted_at is None else ""

    def as_subject(self) -> Subject:
        return Subject("post", self.pk, self.title, site_id=self.site_id, owner_id=self.author_id)


class FormerSlug(models.Model):
    """Where a post was found before; visitors are sent on to where it is now."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    slug = models.CharField(max_length=100)
    post = models.ForeignKey(Post, on_delete=models.CASCADE, related_name="former_slugs")

    class Meta:
        constraints = [models.UniqueConstraint("site", "slug", name="former_slug_once")]


class Announcement(Job):
    """Tells every web process that what a host shows has changed. Sent at once; this row makes sure."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    host = models.CharField(max_length=253)

    class Meta:
        indexes = [
            models.Index("due_at", name="announcement_due", condition=Q(state__in=["waiting", "running"]))
        ]
