"""Whether what is stored is what was stored, and what was stored is what is there."""

import hashlib
import hmac
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from backups.engine import source as sources
from backups.engine.backup import Plan, Reading
from backups.engine.encryption import unseal
from backups.engine.errors import BackupError, Damaged
from backups.engine.manifest import Manifest
from backups.engine.packs import Store
from backups.engine.repository import Repository

FRESH = 4  # packs of its own that are read whatever the share


def verify(
    repository: Repository,
    manifest: Manifest,
    *,
    share: float = 1.0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[str], int]:
    """Read and open a share of the packs that a run needs, its own first; what is wrong, and how many were
    read. Raises KeyMissing, what the store raises.
    """
    wanted = _sample(sorted(manifest.packs), share, own=manifest.run)
    reader = repository.reader(manifest)
    faults = []
    for number, name in enumerate(wanted, 1):
        try:
            unseal(repository.data_key(name.split("/")[1]), name, reader.pack(name))
        except Damaged as fault:
            faults.append(str(fault))
        told(number, len(wanted))
    return faults, len(wanted)


def verify_sums(
    store: Store,
    name: str,
    *,
    share: float = 1.0,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[str], int]:
    """The same without a key: read a share of the packs, and compare with the checksums in the plain list of
    the run.
    """
    refs = store.read(f"{name}.refs")
    if refs is None or store.read(name) is None:
        raise Damaged(f"{name} is not whole: its manifest or its list of packs is missing.")
    listed = refs.decode().splitlines()
    sums = {pack: digest for pack, digest, _ in (line.split() for line in listed)}
    wanted = _sample(sorted(sums), share, own=name.rpartition("-")[2])
    faults = []
    for number, pack in enumerate(wanted, 1):
        blob = store.read(pack)
        if blob is None or hashlib.sha256(blob).hexdigest() != sums[pack]:
            faults.append(f"{pack} is {'missing' if blob is None else 'not what was stored'}.")
        told(number, len(wanted))
    return faults, len(wanted)


def _sample(names: list[str], share: float, *, own: str) -> list[str]:
    """A random share, and with it some of those that the run has just written."""
    some = random.sample(names, min(len(names), max(1, round(share * len(names)))))
    return sorted({*some, *[name for name in names if f"/{own}/" in name][:FRESH]})


@dataclass
class Scrub:
    """What a scrub found: ranges that were read again, and those whose rows are not what a run stored."""

    ranges: int = 0
    drifted: list[str] = field(default_factory=list)


def scrub(plan: Plan, manifest: Manifest) -> Scrub:
    """Read again every range that looks as it did when it was stored whole, and compare.

    Needs no key but the one of chunk ids, and stores nothing. Raises BackupError, psycopg.Error.
    """
    found = Scrub()
    with sources.snapshot(plan.source) as snapshot, snapshot.reader() as connection:
        if snapshot.cluster != manifest.cluster:
            raise BackupError(
                "This is another cluster, or another line of its history: nothing can be compared."
            )
        stored = {table.key: table for table in manifest.tables}
        reading = Reading(plan, snapshot, None, {})
        for table in snapshot.tables:
            known = stored.get(table.key)
            if known is None or known.shape != table.shape or not table.heap:
                continue
            for number, one in enumerate(known.ranges):
                plan.rest()
                if (
                    one.live is not None
                    or len(one.parts) != 1
                    or reading.mark(connection, table, number) != one.mark
                ):
                    continue
                digest = hmac.new(plan.id_key, digestmod=hashlib.sha256)
                for block in reading.rows(connection, table, number):
                    digest.update(block)
                found.ranges += 1
                plan.told(found.ranges, found.ranges)
                if digest.hexdigest() != one.parts[0].rows.id:
                    found.drifted.append(f"{table.key}, blocks from {number * 1024}")
    return found
