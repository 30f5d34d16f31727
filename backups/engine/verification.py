"""Verifying stored packs, and comparing the database with what a run stored."""

import hashlib
import hmac
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from backups.engine import source as sources
from backups.engine.backup import RangeReader, is_comparable
from backups.engine.encryption import decrypt_blob
from backups.engine.errors import BackupError, Damaged
from backups.engine.manifest import Manifest, Table
from backups.engine.packs import Store
from backups.engine.plan import BackupPlan
from backups.engine.range_queries import BLOCKS_PER_RANGE, Connection
from backups.engine.repository import Repository
from backups.engine.source import Snapshot, TableInfo

MIN_OWN_PACKS = 4  # packs written by the run itself that are always read


@dataclass(frozen=True, slots=True)
class PackVerification:
    """The faults in words, how many packs were read, and how many the run needs."""

    faults: list[str]
    read_count: int
    total_count: int


def verify_packs(
    repository: Repository,
    manifest: Manifest,
    *,
    share: float = 1.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PackVerification:
    """Decrypt a random share of the packs that a run needs, and some of its own packs.

    Raises KeyMissing and what the store raises.
    """
    names = _sample_packs(sorted(manifest.packs), share, run_id=manifest.run_id)
    reader = repository.pack_reader(manifest)
    faults = []
    for number, name in enumerate(names, 1):
        try:
            decrypt_blob(repository.data_key(name.split("/")[1]), name, reader.fetch_pack(name))
        except Damaged as error:
            faults.append(str(error))
        on_progress(number, len(names))
    return PackVerification(faults, len(names), len(manifest.packs))


def verify_pack_checksums(
    store: Store,
    name: str,
    *,
    share: float = 1.0,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> PackVerification:
    """Compare a share of the packs with the checksums in the run's plain list. Needs no key.

    `name` is the name of the manifest. Raises Damaged when the manifest or the list is missing or empty, and
    what the store raises.
    """
    pack_list = store.read(f"{name}.refs")
    if pack_list is None or store.read(name) is None:
        raise Damaged(f"{name} is incomplete: its manifest or its list of packs is missing.")
    entries = (line.split() for line in pack_list.decode().splitlines())
    digests = {pack: digest for pack, digest, _ in entries}
    if not digests:  # each run has at least the pack of its schema
        raise Damaged(f"The list of packs of {name} is empty.")
    packs = _sample_packs(sorted(digests), share, run_id=name.rpartition("-")[2])
    faults = []
    for number, pack in enumerate(packs, 1):
        blob = store.read(pack)
        if blob is None or hashlib.sha256(blob).hexdigest() != digests[pack]:
            faults.append(f"{pack} {'is missing' if blob is None else 'differs from what was stored'}.")
        on_progress(number, len(packs))
    return PackVerification(faults, len(packs), len(digests))


def _sample_packs(names: list[str], share: float, *, run_id: str) -> list[str]:
    """Return a random share of the packs, and up to MIN_OWN_PACKS that the run itself wrote."""
    sample = random.sample(names, min(len(names), max(1, round(share * len(names)))))
    own_packs = [name for name in names if f"/{run_id}/" in name]
    return sorted({*sample, *own_packs[:MIN_OWN_PACKS]})


@dataclass
class ScrubResult:
    """How many ranges were read again, and descriptions of those whose rows differ from what is stored."""

    ranges: int = 0
    drifted: list[str] = field(default_factory=list)


def scrub_ranges(plan: BackupPlan, manifest: Manifest) -> ScrubResult:
    """Read every range again that is unchanged since it was stored in full, and compare the content.

    Stores nothing, and needs no key but `plan.id_key`. Raises BackupError, psycopg.Error.
    """
    result = ScrubResult()
    with sources.open_snapshot(plan.source) as snapshot, snapshot.open_reader() as connection:
        if snapshot.cluster != manifest.cluster:
            raise BackupError("This is another cluster, or another timeline of it. Nothing can be compared.")
        reader = RangeReader(plan, snapshot, None, {})
        for table, stored in _iter_comparable_tables(snapshot, manifest):
            _scrub_table(reader, connection, table, stored, result)
    return result


def _iter_comparable_tables(snapshot: Snapshot, manifest: Manifest) -> Iterator[tuple[TableInfo, Table]]:
    stored_tables = {table.name: table for table in manifest.tables}
    for table in snapshot.tables:
        stored = stored_tables.get(table.name)
        if stored is not None and is_comparable(table, stored):
            yield table, stored


def _scrub_table(
    reader: RangeReader,
    connection: Connection,
    table: TableInfo,
    stored: Table,
    result: ScrubResult,
) -> None:
    for number, block_range in enumerate(stored.ranges):
        reader.plan.throttle()
        is_full = block_range.live_ctids is None and len(block_range.parts) == 1
        if not is_full or reader.fetch_fingerprint(connection, table, number) != block_range.fingerprint:
            continue
        digest = hmac.new(reader.plan.id_key, digestmod=hashlib.sha256)
        for block in reader.copy_range(connection, table, number):
            digest.update(block)
        result.ranges += 1
        reader.plan.on_progress(result.ranges, result.ranges)
        if digest.hexdigest() != block_range.parts[0].rows.id:
            result.drifted.append(f"{stored.label}, blocks from {number * BLOCKS_PER_RANGE}")
