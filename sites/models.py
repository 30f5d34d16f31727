"""Sites, their drafts, what was published, and who has access. All but `Access` stand behind row-level security."""

from typing import Protocol, Self
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Q

from audit.services import Subject
from core.ids import uuid7
from core.models import AliveQuerySet, Job


class HasKey(Protocol):
    """A user's row, or a caller known by key only."""

    @property
    def pk(self) -> UUID: ...


class SiteQuerySet(AliveQuerySet["Site"]):
    def visible_to(self, user: HasKey) -> Self:
        """Sites that `user` has a role on. The first fence."""
        return self.filter(access__user_id=user.pk)

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
    live_release = models.ForeignKey("Release", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    next_release = models.PositiveIntegerField(default=1)
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
        OWNER = "owner"

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="access")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=Role)

    class Meta:
        constraints = [models.UniqueConstraint("user", "site", name="access_once")]


class Draft(models.Model):
    """What people edit. `version` counts its saves."""

    site = models.OneToOneField(Site, on_delete=models.CASCADE, primary_key=True, related_name="draft")
    blueprint = models.JSONField()
    version = models.PositiveIntegerField(default=1)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    updated_at = models.DateTimeField(auto_now=True)


class Release(models.Model):
    """What was published, for ever as it was: a trigger refuses changes."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="releases")
    number = models.PositiveIntegerField()
    blueprint = models.JSONField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
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
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint("site", "version", name="revision_version")]

    def as_subject(self) -> Subject:
        return Subject("revision", self.pk, site_id=self.site_id)

    def __str__(self) -> str:
        return f"revision {self.version}"


class Announcement(Job):
    """Tells every web process that what a host shows has changed. Sent at once; this row makes sure."""

    site = models.ForeignKey(Site, on_delete=models.CASCADE, related_name="+")
    host = models.CharField(max_length=253)

    class Meta:
        indexes = [models.Index("due_at", name="announcement_due", condition=Q(state__in=["waiting", "running"]))]
