"""`prune_backups`: killed before each deletion, refused deletions, and its audit entries."""

import base64
import secrets
import shutil
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from audit.actors import SYSTEM
from audit.models import Entry
from backups import config
from backups.engine.errors import KeyMissing
from backups.engine.verification import verify_packs
from backups.errors import NotRestorable
from backups.models import BackupRun, Check
from backups.object_stores import BackupFolderStore
from backups.services import checks, retention
from backups.tests.helpers import execute_backup
from core.storage.object_store import ObjectStoreUnavailable

pytestmark = [pytest.mark.django_db, pytest.mark.commits, pytest.mark.usefixtures("backup_folder")]
AFTER_RETENTION = timedelta(days=800)  # longer than the policy keeps any run


@pytest.fixture
def expired_runs(backup_folder):
    """A full run and its increment, older than the policy keeps, before a full run that is proven."""
    expired = [execute_backup(), execute_backup()]
    assert [run.error for run in expired] == ["", ""]
    checks.drill_run(execute_backup(full=True))
    return expired


def prune_after_retention(*, dry_run=False):
    return retention.prune_backups(now=timezone.now() + AFTER_RETENTION, dry_run=dry_run)


def stored_objects():
    return set(config.store().keys(""))


def pruned_run_ids():
    return set(BackupRun.objects.exclude(pruned_at=None).values_list("pk", flat=True))


def test_prune_backups_follows_the_policy_and_keeps_the_newest_proven_run(backup_folder):
    first = execute_backup()
    checks.drill_run(first)
    later = execute_backup(full=True)

    assert prune_after_retention(dry_run=True).run_ids == []
    checks.drill_run(later)
    preview = prune_after_retention(dry_run=True)
    assert (preview.run_ids, preview.deleted_objects > 1) == ([first.pk.hex], True)
    assert prune_after_retention().run_ids == [first.pk.hex]
    first.refresh_from_db()
    assert first.pruned_at is not None
    assert not [path for path in backup_folder.rglob("*") if path.is_file() and first.pk.hex in str(path)]
    with pytest.raises(NotRestorable), transaction.atomic():
        checks.queue_check(first, Check.Kind.DRILL, actor=SYSTEM)


def test_prune_backups_killed_before_each_deletion_leaves_complete_runs_and_can_be_repeated(
    expired_runs, settings, tmp_path, monkeypatch
):
    shutil.copytree(tmp_path / "store", tmp_path / "finished")
    settings.BACKUP_STORE_URL = f"file://{tmp_path}/finished"
    deletions = prune_after_retention().deleted_objects
    remaining = stored_objects()
    # At least two manifests and two lists of packs, a pack and a key file.
    assert deletions >= 2 * len(expired_runs) + 2
    delete = BackupFolderStore.delete

    for completed in range(deletions):
        settings.BACKUP_STORE_URL = f"file://{tmp_path}/killed-{completed}"
        shutil.copytree(tmp_path / "store", tmp_path / f"killed-{completed}")
        BackupRun.objects.update(pruned_at=None)
        deleted = []

        def delete_until_killed(store, name, deleted=deleted, completed=completed):
            if len(deleted) == completed:
                raise KeyboardInterrupt
            deleted.append(name)
            delete(store, name)

        with monkeypatch.context() as patch:
            patch.setattr(BackupFolderStore, "delete", delete_until_killed)
            with pytest.raises(KeyboardInterrupt):
                prune_after_retention()

        repository = config.repository()
        faults = {
            name: verify_packs(repository, repository.load_manifest(name)).faults
            for name in repository.list_manifests()
        }
        assert faults, completed
        assert [found for found in faults.values() if found] == [], (completed, faults)
        prune_after_retention()
        assert stored_objects() == remaining, completed
        assert pruned_run_ids() == {run.pk for run in expired_runs}, completed
    (newest,) = BackupRun.objects.filter(pruned_at=None)
    assert checks.drill_run(newest), "the kept run can be restored"


@pytest.mark.parametrize("refused", ["runs/", "packs/", "keys/"])
def test_prune_backups_keeps_what_an_undeletable_object_needs(expired_runs, monkeypatch, refused):
    delete = BackupFolderStore.delete

    def refuse(store, name):
        if name.startswith(refused):
            raise ObjectStoreUnavailable("the bucket locks this object")
        delete(store, name)

    before = stored_objects()
    with monkeypatch.context() as patch:
        patch.setattr(BackupFolderStore, "delete", refuse)
        result = prune_after_retention()

    deleted = before - stored_objects()
    order = ["runs/", "packs/", "keys/"]
    assert result.undeletable_objects > 0
    assert {name.partition("/")[0] + "/" for name in deleted} == set(order[: order.index(refused)])
    assert pruned_run_ids() == (set() if refused == "runs/" else {run.pk for run in expired_runs})
    prune_after_retention()
    assert pruned_run_ids() == {run.pk for run in expired_runs}


def test_prune_backups_and_rotate_keys_are_audited_with_the_store_as_subject(expired_runs):
    prune_after_retention()
    retention.rotate_keys()

    entries = Entry.objects.filter(event__in=["backup.pruned", "backup.keys_rotated"])
    assert {(entry.event, entry.subject_type, entry.subject_id) for entry in entries} == {
        ("backup.pruned", "backup_store", None),
        ("backup.keys_rotated", "backup_store", None),
    }


def test_rotate_keys_lets_only_the_new_key_open_stored_runs(settings):
    old_key = settings.BACKUP_KEYS[0]
    new_key = base64.b64encode(secrets.token_bytes(32)).decode()
    run = execute_backup()
    settings.BACKUP_KEYS = [new_key, old_key]

    assert retention.rotate_keys() == 1
    assert retention.rotate_keys() == 0

    settings.BACKUP_KEYS = [new_key]
    assert checks.drill_run(run)
    settings.BACKUP_KEYS = [old_key]
    with pytest.raises(KeyMissing, match="No key that was given"):
        checks.drill_run(run)
