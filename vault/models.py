"""What people keep in vaults: envelopes that the server cannot open."""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Range

from audit.subjects import Subject
from core.ids import uuid7

IV_BYTES = 12  # AES-GCM (NIST SP 800-38D, 5.2.1.1)
MIN_SALT_BYTES = 16
MAX_SALT_BYTES = 64
MAX_CIPHERTEXT_BYTES = 1024 * 1024
# of one person, all records together fit a request
MAX_VAULTS_PER_OWNER = 100
MAX_VAULT_RECORD_BYTES = 16 * 1024
MAX_FORMER_VERSIONS = 10  # former versions of an item that are kept
ALGORITHM = "A256GCM"  # RFC 7518, 5.3


class Holder(models.Model):
    """What one person's vaults take, and how often they changed.

    Every write holds this row, so changes are numbered in the order in which others see them.
    """

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    sequence = models.BigIntegerField(default=0)
    items = models.PositiveIntegerField(default=0)
    size = models.BigIntegerField(
        default=0, help_text="Bytes of ciphertext, former versions and trash included."
    )

    def __str__(self) -> str:
        return f"{self.items} items in vaults"


class Envelope(models.Model):
    """AES-256-GCM ciphertext with its tag.

    Vault id, item id and version are its associated data, so that it opens nowhere else; only the client can
    tell.
    """

    ciphertext = models.BinaryField()
    iv = models.BinaryField()
    salt = models.BinaryField()
    alg = models.CharField(max_length=20, default=ALGORITHM)
    version = models.PositiveIntegerField()

    class Meta:
        abstract = True


def envelope_size_constraint(
    name: str, *, least: int = 16, most: int = MAX_CIPHERTEXT_BYTES
) -> models.CheckConstraint:
    """What the database knows of envelopes: 16 bytes of ciphertext are the tag alone, none are a tombstone."""
    return models.CheckConstraint(
        name=name,
        condition=Q(
            Range(Length("ciphertext"), (least, most)),
            Range(Length("salt"), (MIN_SALT_BYTES, MAX_SALT_BYTES)),
            Range(Length("iv"), (IV_BYTES, IV_BYTES)),
            alg=ALGORITHM,
        ),
    )


class Vault(Envelope):
    """A vault and its own encrypted record.

    `weight` is what its items take in a request that has them all.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    vault_id = models.UUIDField(help_text="Chosen by the client.")
    sequence = models.BigIntegerField()
    weight = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint("owner", "vault_id", name="vault_once"),
            envelope_size_constraint("vault_sizes", most=MAX_VAULT_RECORD_BYTES),
        ]
        indexes = [
            models.Index("owner", "sequence", name="vault_changes"),
            models.Index("deleted_at", name="vault_deleted", condition=~Q(deleted_at=None)),
        ]

    def __str__(self) -> str:
        return str(self.vault_id)

    def as_subject(self) -> Subject:
        return Subject("vault", self.pk, owner_id=self.owner_id)


class Item(Envelope):
    """Something in a vault. Deleted it lies in the trash; purged it is a tombstone without ciphertext."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    vault = models.ForeignKey(Vault, on_delete=models.CASCADE, related_name="items")
    item_id = models.UUIDField(help_text="Chosen by the client.")
    sequence = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True)
    purged_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint("vault", "item_id", name="vault_item_once"),
            envelope_size_constraint("vault_item_sizes", least=0),
            models.CheckConstraint(
                name="vault_item_tombstone",
                condition=Q(purged_at=None) | (Q(ciphertext=b"") & ~Q(deleted_at=None)),
            ),
        ]
        indexes = [
            models.Index("owner", "sequence", name="vault_item_changes"),
            models.Index(
                "deleted_at", name="vault_item_trash", condition=~Q(deleted_at=None) & Q(purged_at=None)
            ),
        ]

    def __str__(self) -> str:
        return str(self.item_id)

    def as_subject(self) -> Subject:
        return Subject("vault_item", self.pk, owner_id=self.owner_id)


class FormerVersion(Envelope):
    """An item as it was before; the last ten are kept until the vault's key is replaced."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="former")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint("item", "version", name="vault_former_once"),
            envelope_size_constraint("vault_former_sizes"),
        ]
