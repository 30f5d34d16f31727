"""Models of core: stored responses, slots of periodic jobs, storage usage, mail, and base classes."""

import os
from typing import ClassVar, Protocol, Self, TypeVar
from uuid import UUID

from django.conf import settings
from django.db import models

from core.encryption import EncryptedTextField
from core.ids import uuid7

M = TypeVar("M", bound=models.Model)


def random_salt() -> bytes:
    return os.urandom(16)


class IdempotentResponse(models.Model):
    """The stored response to a POST with an Idempotency-Key, encrypted under that key."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    principal = models.UUIDField()
    key_digest = models.CharField(max_length=64)
    route = models.CharField(max_length=64)
    body_digest = models.CharField(max_length=64)
    salt = models.BinaryField(default=random_salt)
    response = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint("principal", "key_digest", "route", name="idempotent_response_once")
        ]


class PeriodicSlot(models.Model):
    """The latest time slot of a periodic job that a process has claimed (`core.jobs.periodic`)."""

    job = models.CharField(primary_key=True, max_length=100)
    slot = models.DateTimeField()


class StorageUsage(models.Model):
    """The bytes that a user stores in all apps (`core.quotas`). Triggers keep it equal to the stored rows."""

    owner = models.OneToOneField(
        settings.AUTH_USER_MODEL, primary_key=True, on_delete=models.CASCADE, related_name="storage_usage"
    )
    used = models.BigIntegerField(default=0, help_text="The sum of `parts`.")
    parts = models.JSONField(default=dict, help_text="Bytes by kind.")


class HasPrimaryKey(Protocol):
    """A `User`, or any other object with the primary key of a user, such as an authenticated caller."""

    @property
    def pk(self) -> UUID: ...


class AliveQuerySet(models.QuerySet[M]):
    """Filters for models with `deleted_at`."""

    def alive(self) -> Self:
        return self.filter(deleted_at=None)

    def deleted(self) -> Self:
        return self.exclude(deleted_at=None)


class Job(models.Model):
    """Abstract base class of jobs (`core.jobs.queue`). Subclasses add the fields that the work needs.

    After `max_attempts` failed attempts a job is dead. A subclass with its own `Status` says in
    `WAITING_STATUS` and `OPEN` which of them wait and which are not finished.
    """

    max_attempts: ClassVar[int] = 8
    WAITING_STATUS: ClassVar[str] = "waiting"
    OPEN: ClassVar[list[str]] = ["waiting", "running"]

    class Status(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        DEAD = "dead"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    status = models.CharField(max_length=10, choices=Status, default=Status.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(
        help_text="The time of the next attempt; while the job is running, the end of its lease."
    )
    error = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True

    @property
    def attempts_without_progress(self) -> int:
        """The number of attempts that counts towards `max_attempts`.

        A job that runs in steps subtracts the attempts up to its last finished step.
        """
        return self.attempts


class Mail(Job):
    """A mail to one recipient. Its content is encrypted, and deleted when the mail is sent or expired."""

    max_attempts = 16  # the last attempt comes about five hours after the first

    to = models.EmailField(max_length=254)
    template = models.CharField(max_length=60)
    context = EncryptedTextField(help_text="The context of the template, as JSON.")
    person = models.UUIDField(
        null=True, help_text="The user whom the mail is about, so that it is erased with them."
    )
    until = models.DateTimeField(null=True, help_text="The mail is not sent after this time.")
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "mails"
        indexes = [
            models.Index("due_at", name="mail_due", condition=models.Q(status__in=["waiting", "running"])),
            models.Index("person", name="mail_person"),
            models.Index("created_at", name="mail_created"),
        ]

    def __str__(self) -> str:
        return f"{self.template} of {self.created_at:%Y-%m-%d %H:%M}"
