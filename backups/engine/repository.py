"""Finding and decrypting the runs in a store, and encrypting their data keys to other keys."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from backups.engine.encryption import Keys, decrypt_blob
from backups.engine.errors import BackupError, BackupRefused, Damaged, KeyMissing
from backups.engine.manifest import Manifest
from backups.engine.packs import PackReader, Store


@dataclass
class Repository:
    """The runs in a store, and the keys that decrypt them."""

    store: Store
    keys: Keys
    _data_keys: dict[str, bytes] = field(default_factory=dict)

    def list_manifests(self) -> list[str]:
        """Return the manifest names of the published runs, oldest first. Raises what the store raises."""
        return [key for key in self.store.keys("runs/") if not key.endswith(".refs")]

    def find_manifest(self, *, run_id: str | None = None, at: datetime | None = None) -> str:
        """Return the manifest name of a run: `run_id`, or the newest one, at or before `at` if that is set.

        `at` must be aware. Raises BackupRefused when there is no such run.
        """
        names = self.list_manifests()
        if run_id:
            names = [name for name in names if name.rpartition("-")[2] == run_id]
        elif at:
            upper_bound = at.astimezone(UTC).strftime("runs/%Y%m%dT%H%M%S.%fZ~")
            names = [name for name in names if name < upper_bound]
        if not names:
            raise BackupRefused(
                "There is no such run in the store." if run_id or at else "There is no run in the store."
            )
        return names[-1]

    def data_key(self, run_id: str) -> bytes:
        """Return the data key of a run. Raises KeyMissing, Damaged."""
        if run_id not in self._data_keys:
            self._data_keys[run_id] = self._unwrap_data_key(run_id)
        return self._data_keys[run_id]

    def _unwrap_data_key(self, run_id: str) -> bytes:
        """Try the key file that was written with the run and any that a key rotation added.

        Raises KeyMissing rather than Damaged when there were both errors.
        """
        first_error: BackupError | None = None
        for name in list_key_files(self.store, run_id):
            try:
                return self.keys.unwrap(run_id, self.store.read(name) or b"")
            except (KeyMissing, Damaged) as error:
                first_error = error if first_error is None or isinstance(error, KeyMissing) else first_error
        raise first_error or Damaged(f"The key file of run {run_id} is missing.")

    def load_manifest(self, name: str) -> Manifest:
        """Read, decrypt and parse a manifest. Raises Damaged, KeyMissing."""
        blob = self.store.read(name)
        if blob is None:
            raise Damaged(f"{name} is missing.")
        return Manifest.from_bytes(decrypt_blob(self.data_key(name.rpartition("-")[2]), name, blob))

    def pack_reader(self, manifest: Manifest) -> PackReader:
        """Return a reader for the packs that a run needs."""
        digests = {name: digest for name, (digest, _) in manifest.packs.items()}
        return PackReader(self.store, self.data_key, digests)


def list_key_files(store: Store, run_id: str) -> list[str]:
    """Return the names of a run's key files. There is more than one after an interrupted key rotation."""
    return store.keys(f"keys/{run_id}.")


def rewrap_data_key(repository: Repository, run_id: str, keys: Keys) -> bool:
    """Encrypt the data key of a run to `keys` and delete its other key files.

    Returns False when `keys` are already the only ones. The new file is read back before an old one is
    deleted; a store that refuses deletions keeps both. Raises KeyMissing, Damaged and what the store raises.
    """
    old_names = list_key_files(repository.store, run_id)
    name = f"keys/{run_id}.{keys.wrapping_id()}.json"
    if old_names == [name]:
        return False
    data_key = repository.data_key(run_id)
    if name not in old_names:
        repository.store.create(name, keys.wrap(run_id, data_key))
    stored = repository.store.read(name)
    if stored is None or not keys.match_key_file(stored):
        raise Damaged(f"{name} differs from what was stored.")
    for old_name in old_names:
        if old_name != name:
            repository.store.delete(old_name)
    return True
