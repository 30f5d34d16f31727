"""Models of core: stored responses, slots of periodic jobs, the base class of jobs, and mail."""

import os
from typing import ClassVar, Self, TypeVar

from django.db import models

from core.encryption import EncryptedTextField
from core.ids import uuid7

M = TypeVar("M", bound=models.Model)


def random_salt() -> bytes:
    return os.urandom(16)


class StoredAnswer(models.Model):
    """The stored response to a POST with an Idempotency-Key, encrypted under that key."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    principal = models.UUIDField()
    key_digest = models.CharField(max_length=64)
    route = models.CharField(max_length=64)
    body_digest = models.CharField(max_length=64)
    salt = models.BinaryField(default=random_salt)
    answer = models.BinaryField(null=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint("principal", "key_digest", "route", name="stored_answer_once")]


class Slot(models.Model):
    """The latest time slot of a periodic job that a process has claimed (`core.jobs.periodic`)."""

    job = models.CharField(primary_key=True, max_length=100)
    slot = models.DateTimeField()


class AliveQuerySet(models.QuerySet[M]):
    """Filters for models with `deleted_at`."""

    def alive(self) -> Self:
        return self.filter(deleted_at=None)

    def deleted(self) -> Self:
        return self.exclude(deleted_at=None)


class Job(models.Model):
    """Abstract base class of jobs (`core.jobs.queue`). Subclasses add the fields that the work needs.

    After `max_attempts` failed attempts a job is dead.
    """

    max_attempts: ClassVar[int] = 8
    OPEN: ClassVar[list[str]] = ["waiting", "running"]

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        DONE = "done"
        DEAD = "dead"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField(help_text="When to try next; while running, when the lease ends.")
    error = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Mail(Job):
    """A mail to one recipient. Its content is encrypted, and deleted when the mail is sent or expired."""

    max_attempts = 16  # the last attempt comes about five hours after the first

    to = models.EmailField(max_length=254)
    template = models.CharField(max_length=60)
    facts = EncryptedTextField(help_text="JSON: what the template shows.")
    person = models.UUIDField(null=True, help_text="Whose mail this is, so that it can be erased with them.")
    until = models.DateTimeField(null=True, help_text="After that it would mislead, and is not sent.")
    sent_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = "mails"
        indexes = [
            models.Index("due_at", name="mail_due", condition=models.Q(state__in=["waiting", "running"])),
            models.Index("person", name="mail_person"),
            models.Index("created_at", name="mail_created"),
        ]

    def __str__(self) -> str:
        return f"{self.template} of {self.created_at:%Y-%m-%d %H:%M}"
