"""Pruning the store, renewing object locks, and rotating keys.

Which runs are kept (28 x 6 hours, 14 days, 8 weeks, 12 months) is decided by `backups.engine.retention`.
"""

from dataclasses import dataclass, field
from datetime import datetime

import structlog
from django.conf import settings

from audit.actors import SYSTEM, Actor
from audit.services import record
from audit.subjects import Subject
from backups import config, selectors
from backups.engine import retention
from backups.engine.repository import Repository, list_key_files, rewrap_data_key
from backups.models import BackupRun
from backups.object_stores import BackupStore
from core.storage.object_store import ObjectStoreUnavailable

log = structlog.get_logger(__name__)
# Pruning and key rotation affect all stored runs, so their audit entries name the store and no run.
STORE_SUBJECT = Subject("backup_store")


@dataclass
class PruneResult:
    """The ids of deleted runs, and numbers of objects.

    `undeletable_objects` could not be deleted, mostly because the bucket locks them.
    """

    run_ids: list[str] = field(default_factory=list)
    deleted_objects: int = 0
    undeletable_objects: int = 0


def prune_backups(*, now: datetime, dry_run: bool, actor: Actor = SYSTEM) -> PruneResult:
    """Delete what the retention policy does not keep at `now`, never past the newest proven run.

    Raises Damaged and ObjectStoreUnavailable before anything is deleted.
    """
    store = config.store()
    plan = retention.plan_pruning(store, proven=selectors.proven_run_ids(), now=now)
    result = PruneResult(sorted({retention.parse_run_id(name) for name in plan.manifests}))
    if dry_run:
        result.deleted_objects = len(plan.objects)
        return result
    _delete_objects(store, plan.manifests, result)
    _mark_pruned_runs(store, now=now)
    if not result.undeletable_objects:  # a manifest that could not be deleted needs its packs
        _delete_objects(store, plan.packs, result)
    if not result.undeletable_objects:  # a pack that could not be deleted needs its key file
        _delete_objects(store, plan.key_files, result)
    if plan.objects:
        runs = len(result.run_ids)
        record("backup.pruned", actor=actor, subject=STORE_SUBJECT, runs=runs, objects=result.deleted_objects)
        log.info("backups_pruned", runs=runs, objects=result.deleted_objects, kept=result.undeletable_objects)
    return result


def _mark_pruned_runs(store: BackupStore, *, now: datetime) -> None:
    """Set `pruned_at` on runs whose manifest is gone, including those of an earlier, killed pruning."""
    stored_ids = retention.list_run_ids(store.keys("runs/"))
    restorable = BackupRun.objects.filter(status=BackupRun.Status.DONE, pruned_at=None)
    gone = [pk for pk in restorable.values_list("pk", flat=True) if pk.hex not in stored_ids]
    BackupRun.objects.filter(pk__in=gone).update(pruned_at=now)


def _delete_objects(store: BackupStore, names: list[str], result: PruneResult) -> None:
    for name in names:
        try:
            store.delete(name)
            result.deleted_objects += 1
        except ObjectStoreUnavailable:
            result.undeletable_objects += 1


def renew_object_locks(*, now: datetime) -> int:
    """Lock every object that a run needs for BACKUP_LOCK_FOR from `now`, if the bucket has object lock.

    Returns the number of locked objects. Raises ObjectStoreUnavailable.
    """
    store = config.store()
    names = store.keys("runs/")
    needed = {*names}
    for name in names:
        if name.endswith(".refs"):
            packs = [line.split()[0] for line in (store.read(name) or b"").decode().splitlines()]
            run_ids = {retention.parse_run_id(pack) for pack in packs} | {retention.parse_run_id(name)}
            needed |= {*packs, *(file for run_id in run_ids for file in list_key_files(store, run_id))}
    locked_count = 0
    for name in sorted(needed):
        if not store.lock_until(name, now + settings.BACKUP_LOCK_FOR):
            break
        locked_count += 1
    return locked_count


def rotate_keys(*, identities: tuple[bytes, ...] = ()) -> int:
    """Encrypt the data key of every run to the current keys only. Returns how many runs had other keys.

    The old master key must still be in BACKUP_KEYS. Raises KeyMissing, Damaged, ObjectStoreUnavailable.
    """
    repository = Repository(config.store(), config.keys(identities=identities))
    published = {retention.parse_run_id(name) for name in repository.list_manifests()}
    with_packs = {retention.parse_run_id(name) for name in repository.store.keys("packs/")}
    changed = sum(
        rewrap_data_key(repository, run_id, config.keys()) for run_id in sorted(published | with_packs)
    )
    record("backup.keys_rotated", actor=SYSTEM, subject=STORE_SUBJECT, runs=changed)
    return changed
