"""Sites, their members, drafts, releases, schedules and reviews."""

from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from audit.subjects import Subject
from core.ids import uuid7
from core.models import AliveQuerySet, HasPrimaryKey, Job
from core.storage.documents import DocumentField
from sites.database_functions import NextNumber, size_field


class SiteQuerySet(AliveQuerySet["Site"]):
    def visible_to(self, user: HasPrimaryKey) -> Self:
        """Sites on which `user` has a role, annotated with that `role`.

        Row-level security enforces the same rule in the database.
        """
        return self.filter(access__user_id=user.pk).annotate(role=F("access__role"))

    def published(self) -> Self:
        """Sites that visitors see."""
        return self.alive().filter(status=Site.Status.LIVE)


class Site(models.Model):
    """A website. Members edit its `draft`, visitors see its `live_release`."""

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
    posts_version = models.PositiveIntegerField(default=0, help_text="Counts the changes of published posts.")
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
    """A member's role on a site.

    Row-level security policies read this table, so it has no policy of its own and contains ids only.
    """

    class Role(models.TextChoices):
        """From most to least rights; each role may do everything that the roles after it may do.

        An editor edits and publishes everything, an author writes and requests reviews, a viewer reads.
        """

        OWNER = "owner"
        EDITOR = "editor"
        AUTHOR = "author"
        VIEWER = "viewer"

        def at_least(self, required: "Access.Role") -> bool:
            """Return whether this role has all the rights of `required`."""
            order = list(Access.Role)
            return order.index(self) <= order.index(required)

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="access")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="site_access")
    role = models.CharField(max_length=10, choices=Role)
    role_since = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "site member"
        constraints = [
            models.UniqueConstraint("user", "site", name="access_once"),
            models.UniqueConstraint("site", condition=Q(role="owner"), name="access_one_owner"),
        ]

    def __str__(self) -> str:
        return f"{self.role} {self.user_id}"

    def set_role(self, role: str) -> None:
        """Save another role, and since when the member has it."""
        self.role = role
        self.role_since = timezone.now()
        self.save(update_fields=["role", "role_since"])


class Invitation(models.Model):
    """An invitation to join a site, mailed to `email`. The token in the mail is computed and never stored."""

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
    """The editable blueprint of a site. `version` increases with every save."""

    site = models.OneToOneField(Site, on_delete=models.CASCADE, primary_key=True, related_name="draft")
    blueprint = DocumentField()
    size = size_field("blueprint")
    version = models.PositiveIntegerField(default=1)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    updated_at = models.DateTimeField(auto_now=True)


class Release(models.Model):
    """A published blueprint. It never changes: a database trigger rejects updates."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    blueprint = DocumentField()
    size = size_field("blueprint")
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
    """The draft after one save. A database trigger rejects updates; a periodic task deletes old ones."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="revisions")
    version = models.PositiveIntegerField()
    blueprint = DocumentField()
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
    """A publish or an unpublish that happens at the time `at`.

    A publish releases `revision`, which was the draft's last save when the schedule was created.
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
        indexes = [
            models.Index("due_at", name="schedule_due", condition=Q(status__in=["waiting", "running"]))
        ]

    def __str__(self) -> str:
        return f"{self.act} at {self.at:%Y-%m-%d %H:%M}"

    def as_subject(self) -> Subject:
        return Subject("schedule", self.pk, site_id=self.site_id)


class Review(models.Model):
    """An author asks for `revision` to be published. An editor approves it or returns it with a comment."""

    class Status(models.TextChoices):
        OPEN = "open"
        APPROVED = "approved"
        RETURNED = "returned"
        WITHDRAWN = "withdrawn"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="reviews")
    revision = models.ForeignKey(Revision, on_delete=models.SET_NULL, null=True, related_name="+")
    status = models.CharField(max_length=10, choices=Status, default=Status.OPEN)
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
        constraints = [models.UniqueConstraint("site", condition=Q(status="open"), name="review_open_once")]

    def __str__(self) -> str:
        return f"{self.status} review"

    def as_subject(self) -> Subject:
        return Subject("review", self.pk, site_id=self.site_id)


class Preview(models.Model):
    """A link that shows the draft, one revision or one post without signing in.

    It works until it expires or this row is deleted.
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


class Announcement(Job):
    """A message to every web process that the content of a host has changed.

    It is sent right after the commit. If that fails, a periodic task finds this row and sends it again.
    """

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    host = models.CharField(max_length=253)

    class Meta:
        indexes = [
            models.Index("due_at", name="announcement_due", condition=Q(status__in=["waiting", "running"]))
        ]


class SubdomainReservation(models.Model):
    """A former subdomain, which other owners cannot take for SOFT_DELETE_FOR (`services.reservations`).

    The name itself is not stored, because it can be personal and outlives an erased site. The ids are those
    of rows that may be gone.
    """

    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the name, hexadecimal.")
    site_id = models.UUIDField()
    owner_id = models.UUIDField(db_index=True)
    released_at = models.DateTimeField(default=timezone.now, db_index=True)
