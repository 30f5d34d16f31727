"""Users, roles, sessions and credentials."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Length
from django.db.models.lookups import Range
from django.utils.crypto import salted_hmac

from audit.subjects import Subject
from core.encryption import EncryptedTextField
from core.ids import uuid7
from core.models import AliveQuerySet, Job
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


class SessionQuerySet(models.QuerySet["Session"]):
    def live(self, *, now: datetime) -> "SessionQuerySet":
        """Return sessions that are neither revoked, expired nor idle for too long."""
        return self.filter(revoked_at=None, expires_at__gt=now, idle_at__gt=now)


class Session(models.Model):
    """A signed-in device. Its refresh token is computed from `id` and `generation` and never stored."""

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
    proved_at = models.DateTimeField(help_text="When the user last authenticated.")
    impersonator = models.ForeignKey(
        User,
        null=True,
        on_delete=models.CASCADE,
        related_name="impersonations",
        help_text="The member of staff who acts as the owner. Generation 0 until the link is opened.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                "revoked_at", name="session_unmirrored", condition=Q(mirrored_at=None) & ~Q(revoked_at=None)
            ),
        ]

    def as_subject(self) -> Subject:
        return Subject("session", self.pk, owner_id=self.user_id)

    def __str__(self) -> str:
        return f"session of {self.created_at:%Y-%m-%d %H:%M}"


class EmailProof(Job):
    """A request for a mailed link, and proof of access to the mailbox when its token is used.

    The token is computed from `id` and never stored. The row is also a job: a worker looks up the account and
    decides what to mail, so that the request takes the same time for every address.
    """

    class Purpose(models.TextChoices):
        SIGN_UP = "sign_up"  # there is no account yet; `details` holds its values
        VERIFY = "verify"
        CHANGE = "change"  # `email` is the new address of `user`
        RESET = "reset"
        RESTORE = "restore"  # restores an account that its owner has closed
        RESEND = "resend"  # mails the link of a pending SIGN_UP or VERIFY again

    purpose = models.CharField(max_length=10, choices=Purpose)
    email = EmailKeyField(max_length=MAX_EMAIL_CHARACTERS)
    user = models.ForeignKey(User, null=True, on_delete=models.CASCADE, related_name="email_proofs")
    details = EncryptedTextField(default="{}", help_text="JSON: password hash, name and age of a sign-up.")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index("due_at", name="email_proof_due", condition=Q(status__in=["waiting", "running"])),
            models.Index("email", "id", name="email_proof_email"),
            models.Index("expires_at", name="email_proof_expiry"),
        ]

    def __str__(self) -> str:
        return f"{self.purpose} of {self.created_at:%Y-%m-%d %H:%M}"


class Totp(models.Model):
    """An authenticator app (RFC 6238). `last_step` only rises, so that each time step is accepted once."""

    user = models.OneToOneField(User, primary_key=True, on_delete=models.CASCADE, related_name="totp")
    secret = EncryptedTextField(help_text="Base32.")
    last_step = models.BigIntegerField(default=0)
    confirmed_at = models.DateTimeField(null=True, help_text="Until then it guards nothing.")

    def __str__(self) -> str:
        return "authenticator app"


class RecoveryCode(models.Model):
    """A single-use code for users who have lost their other second factors. Stored as a digest."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="recovery_codes")
    digest = models.CharField(max_length=64)
    used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint("user", "digest", name="recovery_code_once")]


class Passkey(models.Model):
    """A WebAuthn credential. `public_key` verifies the signatures of its authenticator."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="passkeys")
    name = models.CharField(max_length=60)
    credential_id = models.BinaryField(unique=True)
    public_key = models.BinaryField()
    sign_count = models.BigIntegerField(default=0)
    transports = ArrayField(models.CharField(max_length=20), default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.name

    def as_subject(self) -> Subject:
        return Subject("passkey", self.pk, self.name, owner_id=self.user_id)


class Identity(models.Model):
    """An account at an OpenID Connect provider that is connected to a user.

    It is identified by issuer and subject, never by its e-mail address.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="identities")
    provider = models.CharField(max_length=20)
    issuer = models.CharField(max_length=255)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "identities"
        constraints = [models.UniqueConstraint("issuer", "subject", name="identity_once")]

    def __str__(self) -> str:
        return self.provider

    def as_subject(self) -> Subject:
        return Subject("identity", self.pk, self.provider, owner_id=self.user_id)


class DataExport(Job):
    """An archive of a user's personal data.

    Its parts are objects encrypted with `key`, so deleting the row makes them unreadable. The archive is
    built in steps; `steps`, `members`, `parts` and `size` describe what the finished steps stored.
    """

    max_attempts = 5

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="exports")
    key = EncryptedTextField(help_text="AES-256, hexadecimal.")
    parts = models.PositiveIntegerField(default=0)
    size = models.BigIntegerField(default=0, help_text="Bytes of the archive, or of what is built of it.")
    expires_at = models.DateTimeField(null=True, help_text="Its link is good until then.")
    finished_attempt = models.PositiveSmallIntegerField(
        default=0, db_default=0, help_text="The attempt that finished the last step."
    )
    steps = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        help_text="Finished steps: attempt, number of parts, and when it read the data.",
    )
    members = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),
        help_text="Members of the ZIP file so far; emptied when it is complete.",
    )

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index("due_at", name="data_export_due", condition=Q(status__in=["waiting", "running"]))
        ]

    def __str__(self) -> str:
        return f"export of {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def attempts_without_progress(self) -> int:
        return self.attempts - self.finished_attempt

    def as_subject(self) -> Subject:
        return Subject("export", self.pk, owner_id=self.user_id)


class SpentChallenge(models.Model):
    """A challenge that has been used, so that it cannot be used again. Deleted after it has expired."""

    nonce = models.CharField(primary_key=True, max_length=64)
    expires_at = models.DateTimeField(db_index=True)


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def live(self, *, now: datetime) -> "ApiKeyQuerySet":
        """Return keys that are neither revoked nor expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class ApiKey(models.Model):
    """A credential for programs: acts as its owner, limited to `scopes`. Only its digest is stored."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    label = models.CharField(max_length=80)
    prefix = models.CharField(max_length=8, unique=True)
    digest = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=60))
    networks = ArrayField(
        models.CharField(max_length=50), default=list, help_text="CIDR; none allows any address."
    )
    requests_per_minute = models.PositiveIntegerField(null=True)
    expires_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return self.label

    def as_subject(self) -> Subject:
        return Subject("api_key", self.pk, self.label, owner_id=self.owner_id)
