"""What belongs to an account: sessions, mailed links, factors, identities, API keys and data exports."""

from datetime import datetime

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q, Value

from accounts.models.users import MAX_EMAIL_CHARACTERS, EmailKeyField, User
from audit.subjects import Subject
from core.encryption import EncryptedTextField
from core.ids import uuid7
from core.models import Job


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
