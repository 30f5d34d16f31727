"""Who people are, what they may do, and where they are signed in."""

import unicodedata
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils.crypto import salted_hmac

from audit.services import Subject
from core.ids import uuid7
from core.models import AliveQuerySet
from core.permissions import ADMIN_ACCESS, Permission


def normalise_email(email: str) -> str:
    """The one spelling of an address: NFKC, lower case, no space around it (CVE-2019-19844)."""
    return unicodedata.normalize("NFKC", email).strip().lower()


class EmailKeyField(models.EmailField):  # type: ignore[type-arg]
    """An address in its one spelling, whichever door it came through."""

    def get_prep_value(self, value: Any) -> Any:
        return normalise_email(value) if isinstance(value, str) else value


class Role(models.Model):
    """A named set of permissions. Built-in roles are upserted after each migration."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.SlugField(max_length=40, unique=True)
    permissions = ArrayField(models.CharField(max_length=60), default=list, blank=True)
    built_in = models.BooleanField(default=False, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def as_subject(self) -> Subject:
        return Subject("role", self.pk)


class UserManager(BaseUserManager["User"]):
    def get_by_natural_key(self, username: str | None) -> "User":
        return self.alive().get(email=username)

    def get_queryset(self) -> AliveQuerySet["User"]:
        return AliveQuerySet(self.model, using=self._db)

    def alive(self) -> "AliveQuerySet[User]":
        return self.get_queryset().alive()

    def deleted(self) -> "AliveQuerySet[User]":
        return self.get_queryset().deleted()


class User(AbstractBaseUser):
    """A person. `epoch` rises when every access token minted before must end."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = EmailKeyField(max_length=254, unique=True)
    name = models.CharField(max_length=120, blank=True, default="")
    age = models.PositiveSmallIntegerField(null=True, blank=True)
    roles = models.ManyToManyField(Role, related_name="users", blank=True)
    is_active = models.BooleanField(default=True)
    epoch = models.PositiveIntegerField(default=0, editable=False)
    epoch_raised_at = models.DateTimeField(null=True, editable=False)
    epoch_mirrored_at = models.DateTimeField(null=True, editable=False)
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, editable=False)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []
    objects = UserManager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(name="user_age", condition=Q(age=None) | Q(age__range=(0, 150)))]
        indexes = [
            models.Index(
                "epoch_raised_at",
                name="user_epoch_unmirrored",
                condition=Q(epoch_mirrored_at=None) & ~Q(epoch_raised_at=None),
            ),
            models.Index("deleted_at", name="user_deleted", condition=~Q(deleted_at=None)),
        ]

    def __str__(self) -> str:
        return self.email

    def as_subject(self) -> Subject:
        return Subject("user", self.pk, self.email, owner_id=self.pk)

    def get_session_auth_hash(self) -> str:
        """Ends sessions of the admin, too, when the password or the epoch changes."""
        return salted_hmac("accounts.admin-session", f"{self.password}:{self.epoch}", algorithm="sha256").hexdigest()

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """The same under older values of SECRET_KEY."""
        for key in settings.SECRET_KEY_FALLBACKS:
            content = f"{self.password}:{self.epoch}"
            yield salted_hmac("accounts.admin-session", content, secret=key, algorithm="sha256").hexdigest()

    def may(self, permission: Permission) -> bool:
        return self.is_active and permission.code in self.permission_codes()

    def permission_codes(self) -> frozenset[str]:
        """Codes of all roles together. One query for each instance."""
        if not hasattr(self, "_codes"):
            self._codes = frozenset(code for role in self.roles.all() for code in role.permissions)
        return self._codes

    @property
    def is_staff(self) -> bool:
        return self.may(ADMIN_ACCESS)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Django admin's question. Viewing takes `admin.access`, anything else `admin.write`."""
        from core.permissions import ADMIN_WRITE

        viewing = perm.partition(".")[2].startswith("view_")
        return self.may(ADMIN_ACCESS if viewing else ADMIN_WRITE)

    def has_perms(self, perm_list: Any, obj: Any = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self, *, now: datetime) -> "SessionQuerySet":
        return self.filter(revoked_at=None, expires_at__gt=now, idle_at__gt=now)


class Session(models.Model):
    """One signed-in device. Its refresh token is computed from `id` and `generation` and stored nowhere."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sessions")
    generation = models.PositiveIntegerField(default=1)
    rotated_at = models.DateTimeField()
    idle_at = models.DateTimeField(help_text="Unused until then, it ends.")
    expires_at = models.DateTimeField(help_text="It ends then, however much it is used.")
    revoked_at = models.DateTimeField(null=True)
    mirrored_at = models.DateTimeField(null=True)
    agent = models.CharField(max_length=200, blank=True, default="")
    network = models.CharField(max_length=60, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index("revoked_at", name="session_unmirrored", condition=Q(mirrored_at=None) & ~Q(revoked_at=None)),
        ]

    def as_subject(self) -> Subject:
        return Subject("session", self.pk, owner_id=self.user_id)

    def __str__(self) -> str:
        return f"session of {self.created_at:%Y-%m-%d %H:%M}"
