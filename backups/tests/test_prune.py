"""`services.prune`, the deleter that production runs: killed before each deletion, refused deletions, and its
audit entry.
"""

import shutil
from datetime import timedelta

import pytest
from django.utils import timezone

from audit.actors import SYSTEM
from audit.models import Entry
from backups import config
from backups.engine.verification import verify
from backups.models import BackupRun
from backups.object_stores import BackupFolder
from backups.services import checks, retention, runs
from core.storage.object_store import ObjectStoreUnavailable

pytestmark = [pytest.mark.django_db, pytest.mark.commits]
AFTER_RETENTION = timedelta(days=800)  # longer than the plan keeps any run


def take_run(*, full=False):
    with runs.runner():
        run = runs.take_run(runs.queue_run(actor=SYSTEM, provable=True, full=full))
    assert run.error == ""
    return run


@pytest.fixture
def expired_runs(settings, tmp_path):
    """A full run and its increment, both older than the plan keeps, before a full run that is proven to
    restore.
    """
    settings.BACKUP_STORE_URL = f"file://{tmp_path}/store"
    expired = [take_run(), take_run()]
    checks.drill_run(take_run(full=True))
    return expired


def prune():
    return retention.prune(now=timezone.now() + AFTER_RETENTION, dry_run=False)


def stored_objects():
    return set(config.store().keys(""))


def pruned_runs():
    return set(BackupRun.objects.exclude(pruned_at=None).values_list("pk", flat=True))


def test_prune_killed_before_each_deletion_leaves_whole_runs_and_is_finished_by_the_next(
    expired_runs, settings, tmp_path, monkeypatch
):
    shutil.copytree(tmp_path / "store", tmp_path / "finished")
    settings.BACKUP_STORE_URL = f"file://{tmp_path}/finished"
    deletions = prune().objects
    remaining = stored_objects()
    assert (
        deletions >= 2 * len(expired_runs) + 2
    )  # two manifests and two lists of packs, a pack and a key file at least
    delete = BackupFolder.delete

    for survived in range(deletions):
        settings.BACKUP_STORE_URL = f"file://{tmp_path}/killed-{survived}"
        shutil.copytree(tmp_path / "store", tmp_path / f"killed-{survived}")
        BackupRun.objects.update(pruned_at=None)
        calls = []

        def die(store, name, calls=calls, survived=survived):
            if len(calls) == survived:
                raise KeyboardInterrupt
            calls.append(name)
            delete(store, name)

        with monkeypatch.context() as patch:
            patch.setattr(BackupFolder, "delete", die)
            with pytest.raises(KeyboardInterrupt):
                prune()

        repository = config.repository()
        faults = {name: verify(repository, repository.manifest(name))[0] for name in repository.runs()}
        assert all(found == [] for found in faults.values()), (survived, faults)
        assert faults, survived
        prune()
        assert stored_objects() == remaining, survived
        assert pruned_runs() == {run.pk for run in expired_runs}, survived
    (newest,) = BackupRun.objects.filter(pruned_at=None)
    assert checks.drill_run(newest), "the run that stays restores"


@pytest.mark.parametrize("refused", ["runs/", "packs/", "keys/"])
def test_prune_keeps_what_a_refused_object_needs(expired_runs, monkeypatch, refused):
    delete = BackupFolder.delete

    def refuse(store, name):
        if name.startswith(refused):
            raise ObjectStoreUnavailable("the bucket locks this object")
        delete(store, name)

    before = stored_objects()
    with monkeypatch.context() as patch:
        patch.setattr(BackupFolder, "delete", refuse)
        result = prune()

    deleted = before - stored_objects()
    order = ["runs/", "packs/", "keys/"]
    assert result.kept > 0
    assert {name.partition("/")[0] + "/" for name in deleted} == set(order[: order.index(refused)])
    assert pruned_runs() == (set() if refused == "runs/" else {run.pk for run in expired_runs})
    prune()
    assert pruned_runs() == {run.pk for run in expired_runs}


def test_prune_and_rotate_keys_are_audited_about_the_store_and_not_about_an_invented_run(
    expired_runs, settings
):
    prune()
    retention.rotate_keys()

    entries = Entry.objects.filter(event__in=["backup.pruned", "backup.keys_rotated"])
    assert {(entry.event, entry.subject_type, entry.subject_id) for entry in entries} == {
        ("backup.pruned", "backup_store", None),
        ("backup.keys_rotated", "backup_store", None),
    }
