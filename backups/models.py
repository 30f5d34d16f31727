"""Backups, their checks, restores of sites, the state for increments, and tombstones of erased people."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.utils import timezone

from audit.subjects import Subject
from core.models import Job
from sites.models import Site


class BackupJob(Job):
    """Abstract base class of the jobs of the backup worker, which runs one job at a time and tries each once.

    A job may take hours, so an advisory lock of the worker's session takes the place of the lease: when a row
    is running and no process holds that lock, the process of the job was killed.
    """

    class Status(models.TextChoices):  # type: ignore[assignment]  # these values are part of the API
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"
        FAILED = "failed"
        STOPPED = "stopped"

    max_attempts = 1
    WAITING_STATUS = "queued"
    OPEN: ClassVar[list[str]] = ["queued", "running"]

    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    error = models.CharField(max_length=500, blank=True, default="")
    due_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True
        ordering = ["-id"]


class BackupRun(BackupJob):
    """One backup: a full one, or an increment that builds on the previous run.

    The id, in hex, is also the id of the run in the store.
    """

    class Kind(models.TextChoices):
        FULL = "full"
        INCREMENT = "increment"

    full = models.BooleanField(default=False, help_text="Read everything again, whatever has not changed.")
    requested_by_owner = models.BooleanField(
        default=False, help_text="An owner of a site asked for a restore point."
    )
    provable = models.BooleanField(
        default=False, help_text="The content of its rows is summed, so that a drill can compare it."
    )
    kind = models.CharField(max_length=10, choices=Kind, blank=True, default="")
    name = models.CharField(max_length=100, blank=True, default="", help_text="Of its manifest in the store.")
    taken_at = models.DateTimeField(null=True, help_text="The moment that a restore brings back.")
    read_bytes = models.BigIntegerField(default=0, help_text="Of rows that were read.")
    shipped_bytes = models.BigIntegerField(default=0, help_text="Sent to the store by this run.")
    stored_bytes = models.BigIntegerField(
        default=0, help_text="In the store, of this run and all that it builds on."
    )
    rows = models.BigIntegerField(default=0)
    chain = models.PositiveIntegerField(
        default=0, help_text="Number of earlier backups that the longest chain of a range depends on."
    )
    seconds = models.FloatField(default=0)
    waited_seconds = models.FloatField(default=0, help_text="For locks.")
    warning = models.TextField(blank=True, default="")
    verified_at = models.DateTimeField(null=True, help_text="When its packs were last read and verified.")
    proven_at = models.DateTimeField(null=True, help_text="When it was last restored, with the same content.")
    pruned_at = models.DateTimeField(null=True, help_text="Since when it cannot be restored any more.")

    class Meta(BackupJob.Meta):
        indexes = [models.Index("created_at", name="backup_run_created")]
        constraints = [
            models.CheckConstraint(
                name="backup_run_done", condition=~Q(status="done") | ~Q(taken_at=None) & ~Q(name="")
            )
        ]

    def __str__(self) -> str:
        return f"backup of {self.created_at:%Y-%m-%d %H:%M}"

    def as_subject(self) -> Subject:
        return Subject("backup", self.pk)


class Check(BackupJob):
    """A check of a backup: verify its packs, drill a restore, or scrub the database against it."""

    class Kind(models.TextChoices):
        VERIFY = "verify"
        DRILL = "drill"
        SCRUB = "scrub"

    run = models.ForeignKey(BackupRun, on_delete=models.CASCADE, related_name="checks")
    kind = models.CharField(max_length=10, choices=Kind)
    result = models.TextField(blank=True, default="")

    class Meta(BackupJob.Meta):
        verbose_name = "backup check"
        constraints = [
            models.UniqueConstraint(
                "run", "kind", condition=Q(status__in=["queued", "running"]), name="check_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} of {self.created_at:%Y-%m-%d %H:%M}"

    def as_subject(self) -> Subject:
        return Subject("backup", self.run_id)


class SiteRestore(BackupJob):
    """A request to restore a site from a backup as a new draft. `made` is the draft."""

    site_id = models.UUIDField(help_text="The site to restore. It may have been deleted.")
    run = models.ForeignKey(BackupRun, on_delete=models.CASCADE, related_name="+")
    made = models.ForeignKey(Site, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta(BackupJob.Meta):
        indexes = [models.Index("site_id", name="site_restore_site")]
        constraints = [
            models.UniqueConstraint(
                "site_id", condition=Q(status__in=["queued", "running"]), name="site_restore_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"restore of a site of {self.created_at:%Y-%m-%d %H:%M}"

    def as_subject(self) -> Subject:
        return Subject("site_restore", self.pk, site_id=self.site_id)


class BackupState(models.Model):
    """The single row that the next increment is compared with: fingerprints and ids, no content.

    No backup includes it. Without it the next run is full.
    """

    id = models.SmallIntegerField(primary_key=True, default=1)
    id_key = models.BinaryField(
        help_text="Names chunks; whoever has it could confirm a guess, and read nothing."
    )
    manifest = models.BinaryField(null=True)
    pending = models.BinaryField(
        null=True, help_text="Of the run that is being published: it counts once the store has it."
    )

    class Meta:
        constraints = [models.CheckConstraint(name="backup_state_one", condition=Q(id=1))]


class Tombstone(models.Model):
    """The id of an erased person.

    It is copied into the store, so that the person is erased again after a backup is restored.
    """

    person = models.UUIDField(primary_key=True)
    erased_at = models.DateTimeField(auto_now_add=True)
    mirrored_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"erased {self.erased_at:%Y-%m-%d}"
