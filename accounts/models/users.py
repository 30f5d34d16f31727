"""Users, their roles, and their e-mail addresses."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Range
from django.utils.crypto import salted_hmac

from audit.subjects import Subject
from core.ids import uuid7
from core.models import AliveQuerySet
from core.permissions import ADMIN_ACCESS, ADMIN_WRITE, Permission

MAX_EMAIL_CHARACTERS = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets


def normalise_email(email: str) -> str:
    """Return an address in NFKC form, lower case, without surrounding space (CVE-2019-19844)."""
    return unicodedata.normalize("NFKC", email).strip().lower()


class EmailKeyField(models.EmailField):  # type: ignore[type-arg]
    """E-mail field that normalises every value written or looked up."""

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


@dataclass(frozen=True, slots=True)
class Kdf:
    """Parameters of the key derivation (PBKDF2-SHA256) in the client of a zero-knowledge account."""

    ALGORITHM: ClassVar[str] = "PBKDF2-SHA256"
    MIN_ITERATIONS: ClassVar[int] = 600_000  # OWASP Password Storage Cheat Sheet, for PBKDF2-HMAC-SHA256
    MAX_ITERATIONS: ClassVar[int] = 10_000_000
    MIN_SALT_BYTES: ClassVar[int] = 16
    MAX_SALT_BYTES: ClassVar[int] = 64

    iterations: int
    salt: bytes


class User(AbstractBaseUser):
    """A user account. Raising `epoch` ends all access tokens issued before.

    With zero-knowledge login (scheme `blind`) the server never receives the password: `password` is the hash
    of the auth hash that the client derived from it.
    """

    class Scheme(models.TextChoices):
        PASSWORD = "password"  # noqa: S105 - a scheme, not a secret
        ZERO_KNOWLEDGE = "blind", "Blind"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = EmailKeyField(max_length=MAX_EMAIL_CHARACTERS, unique=True)
    name = models.CharField(max_length=120, blank=True, default="")
    age = models.PositiveSmallIntegerField(null=True, blank=True)
    roles = models.ManyToManyField(Role, related_name="users", blank=True)
    is_active = models.BooleanField(default=True)
    quota_mib = models.PositiveIntegerField(
        "storage quota", null=True, blank=True, help_text="MiB. Empty: the default, OWNER_QUOTA_MIB."
    )
    email_verified_at = models.DateTimeField(null=True, editable=False)
    scheme = models.CharField(max_length=10, choices=Scheme, default=Scheme.PASSWORD, editable=False)
    kdf_iterations = models.PositiveIntegerField(null=True, editable=False)
    kdf_salt = models.BinaryField(null=True)
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
        constraints = [
            models.CheckConstraint(name="user_age", condition=Q(age=None) | Q(age__range=(0, 150))),
            models.CheckConstraint(
                name="user_kdf",
                condition=Q(scheme="password", kdf_iterations=None, kdf_salt=None)
                | Q(
                    Range(Length("kdf_salt"), (Kdf.MIN_SALT_BYTES, Kdf.MAX_SALT_BYTES)),
                    scheme="blind",
                    kdf_iterations__range=(Kdf.MIN_ITERATIONS, Kdf.MAX_ITERATIONS),
                    kdf_iterations__isnull=False,  # a CHECK with a NULL result passes
                    kdf_salt__isnull=False,
                ),
            ),
        ]
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

    @property
    def kdf(self) -> Kdf | None:
        """Key derivation parameters; None when clients send the password itself."""
        return Kdf(self.kdf_iterations, bytes(self.kdf_salt or b"")) if self.kdf_iterations else None

    @kdf.setter
    def kdf(self, value: Kdf | None) -> None:
        self.scheme = self.Scheme.ZERO_KNOWLEDGE if value else self.Scheme.PASSWORD
        self.kdf_iterations = value.iterations if value else None
        self.kdf_salt = value.salt if value else None

    def get_session_auth_hash(self) -> str:
        """Return the value that ends admin sessions when the password or the epoch changes."""
        return salted_hmac(
            "accounts.admin-session", f"{self.password}:{self.epoch}", algorithm="sha256"
        ).hexdigest()

    def get_session_auth_fallback_hash(self) -> Iterator[str]:
        """Yield the same value for each of SECRET_KEY_FALLBACKS."""
        for key in settings.SECRET_KEY_FALLBACKS:
            content = f"{self.password}:{self.epoch}"
            yield salted_hmac("accounts.admin-session", content, secret=key, algorithm="sha256").hexdigest()

    def may(self, permission: Permission) -> bool:
        """Return whether the account is active and one of its roles grants `permission`."""
        return self.is_active and permission.code in self.permission_codes()

    def permission_codes(self) -> frozenset[str]:
        """Return the permission codes of all roles. One query per instance."""
        if not hasattr(self, "_permission_codes"):
            self._permission_codes = frozenset(code for role in self.roles.all() for code in role.permissions)
        return self._permission_codes

    @property
    def is_staff(self) -> bool:
        return self.may(ADMIN_ACCESS)

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Return a permission of the Django admin: `admin.access` for viewing, `admin.write` for the rest."""
        is_view_permission = perm.partition(".")[2].startswith("view_")
        return self.may(ADMIN_ACCESS if is_view_permission else ADMIN_WRITE)

    def has_perms(self, perm_list: Any, obj: Any = None) -> bool:
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:
        return self.is_staff
