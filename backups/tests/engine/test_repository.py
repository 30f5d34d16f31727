"""Finding runs in a store, and rotating their keys."""

import os
from datetime import UTC, datetime, timedelta

import pytest

from backups.engine.encryption import Keys
from backups.engine.errors import BackupRefused, Damaged, KeyMissing
from backups.engine.repository import Repository, rewrap_data_key


def test_find_manifest_returns_the_newest_run_at_or_before_a_time(chain):
    chain.take()
    chain.take()
    repository = chain.repository()
    first, second = repository.list_manifests()
    second_taken_at = datetime.fromisoformat(repository.load_manifest(second).taken_at)

    assert repository.find_manifest() == second
    assert repository.find_manifest(at=second_taken_at) == second
    assert repository.find_manifest(at=second_taken_at - timedelta(microseconds=1)) == first
    assert repository.find_manifest(run_id=first.rpartition("-")[2]) == first
    with pytest.raises(BackupRefused, match="no such run"):
        repository.find_manifest(at=datetime(2020, 1, 1, tzinfo=UTC))


class FailingStore:
    """A store that fails at one step of a key rotation, as if the process was killed there."""

    def __init__(self, store, *, step):
        self.store = store
        self.step = step
        self.keys = store.keys

    def create(self, key, body):
        self.store.create(key, body)
        if self.step == "after writing":
            raise KeyboardInterrupt

    def read(self, key):
        body = self.store.read(key)
        return body[:-9] if self.step == "truncated" and key.count(".") > 1 else body

    def delete(self, key):
        if self.step == "before deleting":
            raise KeyboardInterrupt
        self.store.delete(key)


@pytest.mark.parametrize("step", ["after writing", "truncated", "before deleting"])
def test_rewrap_data_key_that_is_killed_leaves_a_key_that_opens_the_run(chain, store, step):
    manifest = chain.take()
    name = chain.repository().list_manifests()[0]
    new_keys = Keys(masters=(os.urandom(32), *chain.keys.masters))
    with pytest.raises((KeyboardInterrupt, Damaged)):
        rewrap_data_key(Repository(FailingStore(store, step=step), new_keys), manifest.run_id, new_keys)

    assert chain.repository().load_manifest(name).run_id == manifest.run_id, "the old key still opens it"
    assert rewrap_data_key(Repository(store, new_keys), manifest.run_id, new_keys) is True
    assert rewrap_data_key(Repository(store, new_keys), manifest.run_id, new_keys) is False
    only_new_key = Keys(masters=new_keys.masters[:1])
    assert Repository(store, only_new_key).load_manifest(name).run_id == manifest.run_id
    with pytest.raises(KeyMissing):
        chain.repository().load_manifest(name)
