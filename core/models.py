"""Rows that serve every app: stored answers and the slots of periodic jobs."""

import os
from typing import Self, TypeVar

from django.db import models

from core.ids import uuid7

M = TypeVar("M", bound=models.Model)


def random_salt() -> bytes:
    return os.urandom(16)


class StoredAnswer(models.Model):
    """The answer to a POST that carried an Idempotency-Key. Unreadable without that key."""

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
    """The last slot in which a periodic job ran; moving it forward is the right to run."""

    job = models.CharField(primary_key=True, max_length=100)
    slot = models.DateTimeField()


class AliveQuerySet(models.QuerySet[M]):
    """The words of soft deletion."""

    def alive(self) -> Self:
        return self.filter(deleted_at=None)

    def deleted(self) -> Self:
        return self.exclude(deleted_at=None)


class Job(models.Model):
    """Work as a row. A message may hurry it; a sweep finds what no message did. Subclasses add what the work needs."""

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
