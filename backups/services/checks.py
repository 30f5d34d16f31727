"""Looking at runs: whether what is stored opens, whether it restores, whether it is what the database has."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from psycopg import sql

from audit.actors import SYSTEM, Actor
from audit.services import record
from backups import config, metrics
from backups.engine import verification
from backups.engine.backup import Plan
from backups.engine.errors import BackupRefused, Damaged, KeyMissing
from backups.engine.manifest import Manifest
from backups.engine.restore import connect, restore
from backups.engine.schema import schema_of
from backups.errors import NotProvable, NotRestorable
from backups.models import BackupRun, BackupState, Check
from backups.services.cancellation import CancellationMonitor
from backups.services.runs import REFUSALS, Told, claim, fail, queue_run, reason_of, state_of, untold
from core.jobs import queue

SAMPLE = 0.01  # of the packs that a run needs, read after it
DRILL_EVERY = timedelta(hours=20)  # less than a day, so that each summed run has its drill
SCRUB_EVERY = timedelta(days=7)

log = structlog.get_logger(__name__)


@transaction.atomic
def queue_check(run: BackupRun, kind: str, *, actor: Actor) -> Check:
    """Ask for a look at a run; one that is asked for already is the answer.

    Raises NotRestorable, NotProvable.
    """
    if run.status != BackupRun.Status.DONE or run.pruned_at:
        raise NotRestorable
    if kind == Check.Kind.DRILL and not run.provable:
        raise NotProvable
    BackupRun.objects.select_for_update(no_key=True).get(pk=run.pk)  # two who ask at once get the same answer
    going = run.checks.filter(kind=kind, status__in=Check.OPEN).first()
    look = going or run.checks.create(kind=kind)
    record("backup.check_queued", actor=actor, subject=run, kind=kind)
    queue.enqueue("backups.tasks.work")
    return look


def queue_due_checks(*, now: datetime) -> None:
    """A drill a day, of the newest run that can be proven and is not; a scrub a week.

    Without a key here a drill is for whoever has one.
    """
    good = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None).order_by("-taken_at")
    unproven = good.filter(provable=True, proven_at=None).first() if config.readable() else None
    _queue_due(unproven, Check.Kind.DRILL, DRILL_EVERY, now=now)
    compared = BackupState.objects.exclude(manifest=None).exists()
    _queue_due(good.first() if compared else None, Check.Kind.SCRUB, SCRUB_EVERY, now=now)


def _queue_due(run: BackupRun | None, kind: str, every: timedelta, *, now: datetime) -> None:
    if run and not Check.objects.filter(kind=kind, created_at__gt=now - every).exists():
        queue_check(run, kind, actor=SYSTEM)


def do_check(look: Check, *, told: Told = untold) -> Check:
    """Do a queued look, as whoever works. What it found is in the row afterwards."""
    if not claim(look, now=timezone.now()):
        return look
    acts: dict[str, Callable[..., str]] = {
        Check.Kind.VERIFY: verify_run,
        Check.Kind.DRILL: drill_run,
        Check.Kind.SCRUB: partial(scrub_run, pace=settings.BACKUP_PACE),
    }
    try:
        result = acts[look.kind](look.run, told=told)
    except Damaged as fault:
        distrust(reason_of(fault))
        fail(look, reason_of(fault), now=timezone.now())
    except REFUSALS as refusal:
        fail(look, reason_of(refusal), now=timezone.now())
    else:
        look.status = Check.Status.DONE
        look.result = result
        look.finished_at = timezone.now()
        look.save(update_fields=["status", "result", "finished_at"])
    return look


def distrust(reason: str) -> None:
    """Something that is stored is not what it was: the next run builds on nothing that is there."""
    BackupState.objects.update(manifest=None)
    queue_run(actor=SYSTEM, full=True)
    log.error("backups_distrusted", reason=reason)


def verify_run(
    run: BackupRun, *, share: float = 1.0, told: Told = untold, identities: tuple[bytes, ...] = ()
) -> str:
    """Read a share of the packs that a run needs, and open them where a key is here; in words what was found.

    Raises Damaged, what the store raises.
    """
    repository = config.repository(identities=identities)
    try:
        faults, count = verification.verify(repository, repository.manifest(run.name), share=share, told=told)
        how = "opened"
    except KeyMissing:
        faults, count = verification.verify_sums(repository.store, run.name, share=share, told=told)
        how = "read and compared with their checksums; the key is elsewhere"
    if faults:
        raise Damaged(" ".join(faults[:3]))
    BackupRun.objects.filter(pk=run.pk).update(verified_at=timezone.now())
    return f"{count} packs {how}."


def drill_run(run: BackupRun, *, told: Told = untold, identities: tuple[bytes, ...] = ()) -> str:
    """Restore a run into a database made for it, and compare structure, counts and content.

    It is proven then. Raises what stands against it.
    """
    repository = config.repository(identities=identities)
    began = timezone.now()
    manifest = repository.manifest(run.name)
    if not manifest.provable:
        raise BackupRefused(NotProvable.message)
    with scratch() as dsn:
        restore(repository, manifest, dsn, told=told, prove=True)
        _same_structure(manifest, dsn)
    seconds = (timezone.now() - began).total_seconds()
    BackupRun.objects.filter(pk=run.pk).update(proven_at=timezone.now(), verified_at=timezone.now())
    record("backup.proven", actor=SYSTEM, subject=run, rows=run.rows, seconds=round(seconds, 1))
    return f"{sum(table.rows for table in manifest.tables):,} rows of {len(manifest.tables)} tables are what they were, restored in {seconds:.0f} s."


def _same_structure(manifest: Manifest, dsn: str) -> None:
    """What was restored has every table, index, constraint, trigger and policy of what was taken.

    Raises Damaged.
    """
    with connect(dsn, row_security="on") as connection:
        if connection.info.server_version // 10000 != manifest.cluster["version"] // 10000:
            return  # another version writes some of it in other words
        found = schema_of(connection)
    for phase, kinds in manifest.schema.items():
        for kind, statements in kinds.items():
            if sorted(map(_head, found[phase][kind])) != sorted(map(_head, statements)):
                raise Damaged(f"The {kind} of the restored database are not those of the one that was taken.")


def _head(statement: str) -> str:
    """What a statement makes, and of what: PostgreSQL writes the same expression in other words once it was
    read back.
    """
    return statement.partition("(")[0]


@contextmanager
def scratch() -> Iterator[str]:
    """A database to restore into, dropped afterwards; one that a killed drill left is dropped first.

    Raises psycopg.Error.
    """
    server = settings.BACKUP_DRILL_URL or config.dsn()
    prefix = f"{psycopg.conninfo.conninfo_to_dict(config.dsn())['dbname']}_drill_"[-50:]
    name = f"{prefix}{secrets.token_hex(4)}"
    with psycopg.connect(server, autocommit=True) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [prefix]
        ).fetchall()
        for (old,) in left:
            drop(connection, old)
        statement = "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
        try:
            yield psycopg.conninfo.make_conninfo(server, dbname=name)
        finally:
            drop(connection, name)


def drop(connection: psycopg.Connection[Any], name: str) -> None:
    """Drop a database, whoever is in it. Raises psycopg.Error."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name))
    try:
        connection.execute(statement + sql.SQL(" WITH (FORCE)"))
    except (
        psycopg.errors.InsufficientPrivilege
    ):  # autovacuum is in it, which force may not end; it leaves where there is none
        connection.execute(statement)


def scrub_run(run: BackupRun, *, told: Told = untold, pace: float = 1.0) -> str:
    """Read the database again where it looks as it did, and compare with what the newest run stored.

    Drift asks for a full run. Raises Damaged.
    """
    state = state_of()
    if not state.manifest:
        raise BackupRefused("There is nothing to compare with yet: the next run reads everything.")
    manifest = Manifest.read(bytes(state.manifest))
    with CancellationMonitor() as watch:
        plan = Plan(
            config.source(),
            config.store(),
            config.keys(),
            bytes(state.id_key),
            manifest.run,
            pace=pace,
            stopped=watch.is_over,
            told=told,
        )
        found = verification.scrub(plan, manifest)
    if found.drifted:
        metrics.drift.inc(len(found.drifted))
        raise Damaged(
            f"Stored and present content differ, a full run is queued: {'; '.join(found.drifted[:3])}."
        )
    return f"{found.ranges} ranges read again; all are what was stored."
