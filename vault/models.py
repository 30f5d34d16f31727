"""Vaults and items: envelopes that only their owner's clients can decrypt.

The server stores ciphertext, sizes, versions and times. It has no key.
"""

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Length
from django.db.models.lookups import Range

from audit.subjects import Subject
from core.ids import uuid7

IV_BYTES = 12  # for AES-GCM (NIST SP 800-38D, section 5.2.1.1)
TAG_BYTES = 16  # of AES-GCM, at the end of the ciphertext
MIN_SALT_BYTES = 16
MAX_SALT_BYTES = 64
MAX_CIPHERTEXT_BYTES = 1024 * 1024
# With these two limits the own records of all vaults of an owner fit into one request.
MAX_VAULTS_PER_OWNER = 100
MAX_VAULT_RECORD_BYTES = 16 * 1024
MAX_FORMER_VERSIONS = 10  # of one item
ALGORITHM = "A256GCM"  # RFC 7518, section 5.3


class Holder(models.Model):
    """The usage and the last change number of one owner.

    Every write locks this row, so that change numbers rise in the order in which transactions commit.
    """

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="+"
    )
    sequence = models.BigIntegerField(default=0)
    items = models.PositiveIntegerField(default=0)
    size = models.BigIntegerField(
        default=0, help_text="Bytes of ciphertext, former versions and trash included."
    )

    class Meta:
        verbose_name = "vault usage"
        verbose_name_plural = "vault usage"

    def __str__(self) -> str:
        return f"{self.items} items in vaults"


class Envelope(models.Model):
    """AES-256-GCM ciphertext with its tag, and what is needed to decrypt it except the key.

    Vault id, item id and version are the associated data, so that an envelope decrypts in its own place only.
    Only a client can verify that.
    """

    ciphertext = models.BinaryField()
    iv = models.BinaryField()
    salt = models.BinaryField()
    alg = models.CharField(max_length=20, default=ALGORITHM)
    version = models.PositiveIntegerField()

    class Meta:
        abstract = True


def envelope_size_constraint(
    name: str, *, min_bytes: int = TAG_BYTES, max_bytes: int = MAX_CIPHERTEXT_BYTES
) -> models.CheckConstraint:
    """Return the constraint on the sizes of an envelope, with limits for its ciphertext.

    The tag alone has 16 bytes. A tombstone has an empty ciphertext.
    """
    return models.CheckConstraint(
        name=name,
        condition=Q(
            Range(Length("ciphertext"), (min_bytes, max_bytes)),
            Range(Length("salt"), (MIN_SALT_BYTES, MAX_SALT_BYTES)),
            Range(Length("iv"), (IV_BYTES, IV_BYTES)),
            alg=ALGORITHM,
        ),
    )


class Vault(Envelope):
    """A vault with its own encrypted record, which contains the vault's key.

    `sequence` is the change number of its last change. `weight` is an upper bound of the JSON bytes of a
    request that carries the record and all items, as a key rotation does.
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
            envelope_size_constraint("vault_sizes", max_bytes=MAX_VAULT_RECORD_BYTES),
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
    """An encrypted item of a vault.

    A deleted item is in the trash. A purged item is a tombstone: its row stays, without ciphertext.
    """

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
            envelope_size_constraint("vault_item_sizes", min_bytes=0),
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
    """A previous envelope of an item. The last ten are kept until the key of the vault is rotated."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    item = models.ForeignKey(Item, on_delete=models.CASCADE, related_name="former")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-version"]
        constraints = [
            models.UniqueConstraint("item", "version", name="vault_former_once"),
            envelope_size_constraint("vault_former_sizes"),
        ]
