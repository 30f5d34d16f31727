"""Taking backups: one runner, whatever happens."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from audit.actors import SYSTEM, Actor
from audit.services import record
from backups import config, metrics
from backups.engine import backup
from backups.engine.backup import Plan, Taken
from backups.engine.errors import BackupError, Damaged, Stopped
from backups.engine.manifest import Manifest
from backups.models import BackupRun, BackupState, Check, SiteRestore, Work
from backups.services.cancellation import CancellationMonitor
from core.jobs import queue
from core.storage.object_store import ObjectExists, ObjectStoreUnavailable

RUNNER = 0x6261636B757073  # "backups": the advisory lock of whoever works
AGAIN_AFTER = timedelta(minutes=10)  # a run that failed, then twice as long each time
PROVABLE_EVERY = timedelta(
    hours=23
)  # how often rows are summed for a drill: it takes as long as reading them
FRESH = timedelta(minutes=15)  # a run that is as good as one of now
# What a run, a look or a restore may meet that is nobody's bug.
REFUSALS = (
    BackupError,
    ObjectStoreUnavailable,
    ObjectExists,
    psycopg.Error,
    DatabaseError,
    OSError,
    ValueError,
)
Told = Callable[[int, int], None]

log = structlog.get_logger(__name__)


def untold(done: int, total: int) -> None:
    """Nobody watches."""


@contextmanager
def runner() -> Iterator[bool]:
    """The right to work, held by a connection of its own, so that it ends with this process.

    False when another has it.
    """
    with psycopg.connect(config.dsn(), autocommit=True, application_name="backup runner") as mine:
        row = mine.execute("SELECT pg_try_advisory_lock(%s)", [RUNNER]).fetchone()
        yield bool(row and row[0])


@transaction.atomic
def queue_run(*, actor: Actor, full: bool = False, provable: bool = False) -> BackupRun:
    """Ask for a backup; one that waits already is the answer.

    The work begins within a minute, mostly at once. Whether its rows are summed is decided then, unless
    `provable` asks for it.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s, 1)", [RUNNER % 2**31])
    waiting = BackupRun.objects.filter(status=BackupRun.Status.QUEUED).first()
    enough = waiting and waiting.full >= full and waiting.provable >= provable
    run = waiting if waiting and enough else BackupRun.objects.create(full=full, provable=provable)
    record("backup.queued", actor=actor, subject=run, full=full)
    queue.enqueue("backups.tasks.work")
    return run


def queue_due(*, now: datetime) -> BackupRun | None:
    """Ask for a backup when it is time: BACKUP_EVERY after the last began, and sooner after one that failed."""
    last = list(BackupRun.objects.order_by("-created_at")[:8])
    if last and last[0].status in BackupRun.OPEN:
        return None
    failures = next((n for n, run in enumerate(last) if run.status == BackupRun.Status.DONE), len(last))
    wait = (
        min(settings.BACKUP_EVERY, AGAIN_AFTER * 2 ** (failures - 1)) if failures else settings.BACKUP_EVERY
    )
    if last and last[0].status == BackupRun.Status.STOPPED:
        wait = timedelta(minutes=1)
    if last and now - last[0].created_at < wait:
        return None
    return queue_run(actor=SYSTEM)


def claim(row: Work, *, now: datetime) -> bool:
    """Move queued work to running. False when it is not queued any more."""
    queued = type(row)._default_manager.filter(pk=row.pk, status=Work.Status.QUEUED)
    return queued.update(status=Work.Status.RUNNING, started_at=now) == 1


def reconcile(*, now: datetime) -> None:
    """As whoever works: settle what a runner left that was killed.

    A run counts when, and only when, the store lists it.
    """
    for run in BackupRun.objects.filter(status=BackupRun.Status.RUNNING):
        listed = [name for name in config.store().keys("runs/") if name.endswith(f"-{run.pk.hex}")]
        if listed:
            _settle(run, listed[0], now=now)
        else:
            fail(run, "The process was killed.", now=now)
    BackupState.objects.update(pending=None)
    for kind in (Check, SiteRestore):
        for row in kind._default_manager.filter(status=Work.Status.RUNNING):
            fail(row, "The process was killed.", now=now)


def _settle(run: BackupRun, name: str, *, now: datetime) -> None:
    """The process died between the last write to the store and ours; or this database is a restore of that
    moment.
    """
    state = BackupState.objects.exclude(pending=None).first()
    manifest = _read(state.pending) if state else None
    if manifest and manifest.run == run.pk.hex:
        _finish(
            run, manifest, name, facts={"seconds": (now - (run.started_at or now)).total_seconds()}, now=now
        )
    else:
        moment = datetime.fromisoformat(name.removeprefix("runs/").partition("-")[0])
        rows = BackupRun.objects.filter(pk=run.pk)
        rows.update(status=BackupRun.Status.DONE, name=name, taken_at=moment, finished_at=now)


def _read(packed: Any) -> Manifest | None:
    """A manifest that was kept here; None for one of another version of this program: then everything is read
    again.
    """
    try:
        return Manifest.read(bytes(packed)) if packed else None
    except Damaged:
        return None


def fail(row: Work, reason: str, *, now: datetime, status: str = Work.Status.FAILED) -> None:
    row.status = status
    row.error = reason[:500]
    row.finished_at = now
    row.save(update_fields=["status", "error", "finished_at"])
    if status == Work.Status.FAILED:
        log.error("backup_work_failed", kind=type(row).__name__, row=str(row.pk), reason=reason[:500])
        metrics.failures.labels(type(row).__name__).inc()
    record(f"{_noun(row)}.{status}", actor=SYSTEM, subject=row, reason=reason[:200])  # type: ignore[arg-type]


def _noun(row: Work) -> str:
    return {"BackupRun": "backup", "Check": "backup_check", "SiteRestore": "site_restore"}[type(row).__name__]


def discard(run: BackupRun, reason: str, *, now: datetime) -> None:
    """What was stored is not what was sent: the run is not offered any more, and the next one builds on
    nothing.
    """
    store = config.store()
    with contextlib.suppress(
        ObjectStoreUnavailable
    ):  # a bucket that locks keeps it; this database knows better
        for name in (run.name, f"{run.name}.refs"):
            store.delete(name)
    BackupState.objects.update(manifest=None)
    fail(run, reason, now=now)


def reason_of(refusal: Exception) -> str:
    """What stands in the row, for an operator."""
    if isinstance(refusal, BackupError):
        return str(refusal)
    if isinstance(refusal, ObjectStoreUnavailable | ObjectExists):
        return f"The store of backups refused: {type(refusal).__name__} {refusal}"
    first = str(refusal).strip().splitlines()
    return f"{type(refusal).__name__}: {first[0] if first else ''}"


def take_run(run: BackupRun, *, told: Told = untold, pace: float = 1.0) -> BackupRun:
    """Take a queued run, as whoever works; with a `pace` below 1 it sleeps in between.

    What stands against it is in the row afterwards.
    """
    started = timezone.now()
    if not claim(run, now=started):
        return run
    try:
        with CancellationMonitor() as watch:
            _take(run, watch, told, pace, started=started)
    except Stopped as refusal:
        fail(run, str(refusal), now=timezone.now(), status=Work.Status.STOPPED)
    except REFUSALS as refusal:
        fail(run, reason_of(refusal), now=timezone.now())
    run.refresh_from_db()
    return run


def _take(run: BackupRun, watch: CancellationMonitor, told: Told, pace: float, *, started: datetime) -> None:
    store = config.store()
    state = state_of()
    previous = None if run.full else previous_of(state)
    lately = BackupRun.objects.filter(
        status=BackupRun.Status.DONE, provable=True, created_at__gt=started - PROVABLE_EVERY
    )
    run.provable = run.provable or previous is None or not lately.exists()
    plan = Plan(
        config.source(),
        store,
        config.keys(),
        bytes(state.id_key),
        run.pk.hex,
        previous,
        pace=pace,
        sums=run.provable,
        facts={"version": settings.VERSION},
        stopped=watch.is_over,
        told=told,
    )
    taken = backup.take(plan)
    connection.close_if_unusable_or_obsolete()  # it had nothing to do for as long as that took
    state.pending = taken.manifest.sealed_form()
    state.save(update_fields=["pending"])
    taken.publish(store)
    facts = {
        "read_bytes": plan.read,
        "shipped_bytes": taken.shipped,
        "waited_seconds": taken.waited,
        "seconds": (timezone.now() - started).total_seconds(),
    }
    _finish(run, taken.manifest, name_of(taken), facts=facts, now=timezone.now())


def name_of(taken: Taken) -> str:
    return backup.manifest_name(taken.manifest.at, taken.manifest.run)


def state_of() -> BackupState:
    import secrets

    return BackupState.objects.get_or_create(pk=1, defaults={"id_key": secrets.token_bytes(32)})[0]


def previous_of(state: BackupState) -> Manifest | None:
    """The run that the next one builds on: the last, if the store still has it with every pack.

    Raises ObjectStoreAway.
    """
    if not state.manifest:
        return None
    manifest = _read(state.manifest)
    store = config.store()
    if manifest is None:
        return None
    name = backup.manifest_name(manifest.at, manifest.run)
    there = {*store.keys(name), *store.keys("packs/")}
    return manifest if {name, *manifest.packs} <= there else None


@transaction.atomic
def _finish(run: BackupRun, manifest: Manifest, name: str, *, facts: dict[str, Any], now: datetime) -> None:
    """The store has it: from here on it counts, and the next increment builds on it."""
    rows = sum(table.rows for table in manifest.tables)
    before = BackupRun.objects.filter(status=BackupRun.Status.DONE).order_by("-taken_at").first()
    run.status = BackupRun.Status.DONE
    run.name = name
    run.finished_at = now
    run.kind = BackupRun.Kind.INCREMENT if manifest.parent else BackupRun.Kind.FULL
    run.taken_at = datetime.fromisoformat(manifest.at)
    run.provable = manifest.provable
    run.rows = rows
    run.stored_bytes = sum(size for _, size in manifest.packs.values())
    run.chain = max((len(one.parts) for table in manifest.tables for one in table.ranges), default=0)
    if rows == 0 or (before and rows < before.rows / 2):
        run.warning = f"It has {rows:,} rows where the backup before had {before.rows if before else 0:,}."
        log.error("backup_shrank", run=str(run.pk), rows=rows)
    for fact, value in facts.items():
        setattr(run, fact, value)
    run.save()
    BackupState.objects.filter(pk=1).update(manifest=manifest.sealed_form(), pending=None)
    record("backup.finished", actor=SYSTEM, subject=run, kind=run.kind, shipped_bytes=run.shipped_bytes)
    log.info(
        "backup_finished",
        run=str(run.pk),
        kind=run.kind,
        shipped_bytes=run.shipped_bytes,
        seconds=run.seconds,
    )
