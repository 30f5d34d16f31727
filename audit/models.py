"""Audit entries, their personal values, the seals and checkpoints of the hash chain, and the server log.

`audit_entry` is partitioned by the month in its id and created by SQL in a migration. Django does not manage
it, and no table has a foreign key to it or from it. Triggers refuse UPDATE, DELETE and TRUNCATE.
"""

from django.db import models


class Entry(models.Model):
    """One recorded event. `personal` holds hashes; the values themselves are in `Personal`, erasable."""

    class ActorKind(models.TextChoices):
        USER = "user"
        KEY = "key"
        STAFF = "staff"
        SYSTEM = "system"
        ANONYMOUS = "anonymous"

    id = models.UUIDField(primary_key=True)
    event = models.CharField(max_length=60)
    actor_kind = models.CharField(max_length=10, choices=ActorKind)
    actor_id = models.UUIDField(null=True)
    subject_type = models.CharField(max_length=40)
    subject_id = models.UUIDField(null=True)
    site_id = models.UUIDField(null=True)
    owner_id = models.UUIDField(null=True)
    session_id = models.UUIDField(null=True)
    request_id = models.CharField(max_length=64)
    facts = models.TextField(help_text="JSON text, exactly as it was hashed.")
    personal = models.TextField(help_text="JSON text: field to SHA-256(salt || value), hexadecimal.")
    created_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "audit_entry"
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.event} at {self.created_at:%Y-%m-%d %H:%M:%S}"


class Personal(models.Model):
    """A personal value of an entry.

    Deleting the row erases the value. The entry keeps its hash and stays verifiable.
    """

    pk = models.CompositePrimaryKey("entry_id", "field")
    entry_id = models.UUIDField()
    field = models.CharField(max_length=40)
    value = models.TextField()
    salt = models.BinaryField()


class Seal(models.Model):
    """The position of an entry in the hash chain.

    `leaf` is the hash of the entry, and `digest` is SHA-256(digest of the seal before it || `leaf`).
    """

    number = models.BigIntegerField(primary_key=True)
    entry_id = models.UUIDField(unique=True)
    leaf = models.BinaryField()
    digest = models.BinaryField()

    class Meta:
        managed = False
        db_table = "audit_seal"


class Pending(models.Model):
    """An entry that is not sealed yet. Written together with the entry, deleted when it is sealed."""

    entry_id = models.UUIDField(primary_key=True)
    since = models.DateTimeField()


class Checkpoint(models.Model):
    """A signed document with the digest of the chain at `number`.

    The object store holds a copy that is never overwritten.
    """

    number = models.BigIntegerField(primary_key=True)
    document = models.TextField(help_text="JSON text as it was signed and stored.")
    stored_at = models.DateTimeField(null=True)


class Stub(models.Model):
    """A signed document that replaces a dropped month. It lists the seal numbers of its entries."""

    partition = models.CharField(primary_key=True, max_length=40)
    document = models.TextField(help_text="JSON text as it was signed and stored.")
    created_at = models.DateTimeField(auto_now_add=True)


class LogLine(models.Model):
    """A warning or an error of the server, kept for 30 days."""

    id = models.UUIDField(primary_key=True)
    level = models.CharField(max_length=10)
    logger = models.CharField(max_length=100)
    message = models.TextField()
    request_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.level} {self.logger}"
