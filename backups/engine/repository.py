"""Where runs are kept: finding one, opening it with the keys that are here, and giving it other keys."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from backups.engine.encryption import Keys, unseal
from backups.engine.errors import BackupError, BackupRefused, Damaged, KeyMissing
from backups.engine.manifest import Manifest
from backups.engine.packs import PackReader, Store


@dataclass
class Repository:
    """Runs in a store, opened with the keys that are here."""

    store: Store
    keys: Keys
    _data_keys: dict[str, bytes] = field(default_factory=dict)

    def runs(self) -> list[str]:
        """Names of published runs, oldest first."""
        return [key for key in self.store.keys("runs/") if not key.endswith(".refs")]

    def find(self, *, run: str | None = None, at: datetime | None = None) -> str:
        """The name of this run, or of the newest that was taken at `at` (aware) or before, or of the newest.

        Raises Refused.
        """
        names = self.runs()
        if run:
            names = [name for name in names if name.rpartition("-")[2] == run]
        elif at:
            last = at.astimezone(UTC).strftime("runs/%Y%m%dT%H%M%S.%fZ~")
            names = [name for name in names if name < last]
        if not names:
            raise BackupRefused(
                "There is no such run in the store." if run or at else "There is no run in the store."
            )
        return names[-1]

    def data_key(self, run: str) -> bytes:
        """Raises KeyMissing, Damaged."""
        if run not in self._data_keys:
            self._data_keys[run] = self._open(run)
        return self._data_keys[run]

    def _open(self, run: str) -> bytes:
        """By the file that was written with the run, or one that a change of keys has put beside it."""
        fault: BackupError | None = None
        for name in key_files(self.store, run):
            try:
                return self.keys.open(run, self.store.read(name) or b"")
            except (KeyMissing, Damaged) as found:
                fault = found if fault is None or isinstance(found, KeyMissing) else fault
        raise fault or Damaged(f"The key file of run {run} is missing.")

    def manifest(self, name: str) -> Manifest:
        """Raises Damaged, KeyMissing."""
        blob = self.store.read(name)
        if blob is None:
            raise Damaged(f"{name} is missing.")
        return Manifest.read(unseal(self.data_key(name.rpartition("-")[2]), name, blob))

    def reader(self, manifest: Manifest) -> PackReader:
        return PackReader(
            self.store, self.data_key, {name: digest for name, (digest, _) in manifest.packs.items()}
        )


def key_files(store: Store, run: str) -> list[str]:
    return store.keys(f"keys/{run}.")


def rewrap(repository: Repository, run: str, keys: Keys) -> bool:
    """Let `keys` open a run, too, and then no others; False where they are its only ones already.

    What is stored is read back before the old file goes, and a store that keeps what it has keeps both.
    Raises KeyMissing, Damaged, what the store raises.
    """
    old = key_files(repository.store, run)
    name = f"keys/{run}.{keys.ids()}.json"
    if old == [name]:
        return False
    data_key = repository.data_key(run)
    if name not in old:
        repository.store.create(name, keys.wrap(run, data_key))
    stored = repository.store.read(name)
    if stored is None or not keys.wraps(stored):
        raise Damaged(f"{name} is not what was stored.")
    for other in old:
        if other != name:
            repository.store.delete(other)
    return True
