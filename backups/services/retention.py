"""What stays in the store and for how long, and with which keys."""

from dataclasses import dataclass, field
from datetime import datetime

import structlog
from django.conf import settings

from audit.actors import SYSTEM, Actor
from audit.services import record
from audit.subjects import Subject
from backups import config, selectors
from backups.engine import retention
from backups.engine.repository import Repository, key_files, rewrap
from backups.models import BackupRun
from backups.object_stores import BackupStore
from core.storage.object_store import ObjectStoreUnavailable

log = structlog.get_logger(__name__)
STORE = Subject("backup_store")  # pruning and new keys concern all stored runs, so the entry names no run


@dataclass
class Pruned:
    """Runs that went, and other objects; `kept` could not be deleted, mostly because the bucket locks them."""

    runs: list[str] = field(default_factory=list)
    objects: int = 0
    kept: int = 0


def prune(*, now: datetime, dry_run: bool, actor: Actor = SYSTEM) -> Pruned:
    """Delete what the plan does not keep at `now`, never past the newest proven run.

    Raises ObjectStoreAway before anything is deleted.
    """
    store = config.store()
    wanted = retention.removal(store, proven=selectors.proven(), now=now)
    pruned = Pruned(sorted({retention.run_of(name) for name in wanted.manifests}))
    if dry_run:
        pruned.objects = len(wanted.all)
        return pruned
    _delete(store, wanted.manifests, pruned)
    listed = retention.runs_in(store.keys("runs/"))
    good = BackupRun.objects.filter(status=BackupRun.Status.DONE)
    gone = [pk for pk in good.filter(pruned_at=None).values_list("pk", flat=True) if pk.hex not in listed]
    BackupRun.objects.filter(pk__in=gone).update(pruned_at=now)  # also what a killed pruning took
    if not pruned.kept:  # a manifest that stayed needs its packs
        _delete(store, wanted.packs, pruned)
    if not pruned.kept:  # and a pack that stayed its key
        _delete(store, wanted.key_files, pruned)
    if wanted.all:
        record(
            "backup.pruned",
            actor=actor,
            subject=STORE,
            runs=len(pruned.runs),
            objects=pruned.objects,
        )
        log.info("backups_pruned", runs=len(pruned.runs), objects=pruned.objects, kept=pruned.kept)
    return pruned


def _delete(store: BackupStore, names: list[str], pruned: Pruned) -> None:
    for name in names:
        try:
            store.delete(name)
            pruned.objects += 1
        except ObjectStoreUnavailable:
            pruned.kept += 1


def renew_locks(*, now: datetime) -> int:
    """Where the bucket locks objects: keep what is needed for BACKUP_LOCK_DAYS from now.

    How many objects were locked.
    """
    store = config.store()
    names = store.keys("runs/")
    needed = {*names}
    for name in names:
        if name.endswith(".refs"):
            packs = [line.split()[0] for line in (store.read(name) or b"").decode().splitlines()]
            makers = {retention.run_of(pack) for pack in packs} | {retention.run_of(name)}
            needed |= {*packs, *(file for run in makers for file in key_files(store, run))}
    count = 0
    for name in sorted(needed):
        if not store.keep_until(name, now + settings.BACKUP_LOCK_FOR):
            break
        count += 1
    return count


def rotate_keys(*, identities: tuple[bytes, ...] = ()) -> int:
    """Give every run the keys of now, and only those; how many had others.

    The old master key must still be among BACKUP_KEYS. Raises KeyMissing, Damaged, ObjectStoreAway.
    """
    repository = Repository(config.store(), config.keys(identities=identities))
    runs = {retention.run_of(name) for name in repository.runs()}
    makers = {retention.run_of(name) for name in repository.store.keys("packs/")}
    changed = sum(rewrap(repository, run, config.keys()) for run in sorted(runs | makers))
    record("backup.keys_rotated", actor=SYSTEM, subject=STORE, runs=changed)
    return changed
