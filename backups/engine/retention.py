"""Which runs are kept, and which objects pruning may delete.

No key is needed: the id of a run contains its time, and a plain list beside the manifest names its packs.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from backups.engine.errors import Damaged
from backups.engine.packs import Store

# (span, count): in each of the last `count` spans the newest run is kept.
RETENTION_SPANS = (
    (timedelta(hours=6), 28),
    (timedelta(days=1), 14),
    (timedelta(weeks=1), 8),
    (timedelta(days=30), 12),
)
MIN_PRUNE_AGE = timedelta(hours=48)  # a run in progress has packs that no list names yet


def generate_run_id(now: datetime) -> str:
    """Return a new run id that sorts by time: milliseconds since the epoch and 48 random bits, in hex."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}"


def parse_run_time(run_id: str) -> datetime:
    """Return the time in a run id, in UTC."""
    return datetime.fromtimestamp(int(run_id[:12], 16) / 1000, tz=UTC)


def parse_run_id(name: str) -> str:
    """Return the run id in the name of a manifest, a list of packs or a pack."""
    return name.split("/")[1] if name.startswith("packs/") else name.removesuffix(".refs").rpartition("-")[2]


def list_run_ids(names: Iterable[str]) -> set[str]:
    """Return the run ids of the manifests among these object names."""
    return {parse_run_id(name) for name in names if not name.endswith(".refs")}


def select_retained_runs(run_ids: Iterable[str], *, proven: Iterable[str], now: datetime) -> set[str]:
    """Return the runs that the retention policy keeps at `now`.

    The newest run and the newest run that was proven to restore are always kept, and so are all runs after
    the proven one.
    """
    ordered = sorted(set(run_ids))
    retained = set(ordered[-1:])
    for span, count in RETENTION_SPANS:
        newest_in_slot: dict[int, str] = {}
        for run_id in ordered:
            # Slots are fixed in time. If they moved with `now`, no run would ever grow old.
            slot = int(parse_run_time(run_id).timestamp() // span.total_seconds())
            newest_in_slot[slot] = max(run_id, newest_in_slot.get(slot, ""))
        current_slot = int(now.timestamp() // span.total_seconds())
        retained |= {run_id for slot, run_id in newest_in_slot.items() if slot > current_slot - count}
    if newest_proven := sorted(set(proven) & set(ordered))[-1:]:
        retained |= {run_id for run_id in ordered if run_id >= newest_proven[0]}
    return retained


def select_prunable_runs(names: Iterable[str], *, proven: Iterable[str], now: datetime) -> list[str]:
    """Return the ids of the runs in a listing of `runs/` that pruning deletes, oldest first."""
    run_ids = list_run_ids(names)
    retained = select_retained_runs(run_ids, proven=proven, now=now)
    return sorted(run_id for run_id in run_ids if _is_prunable(run_id, retained, now=now))


def _is_prunable(run_id: str, retained: set[str], *, now: datetime) -> bool:
    return run_id not in retained and now - parse_run_time(run_id) > MIN_PRUNE_AGE


@dataclass
class PrunePlan:
    """The objects that pruning deletes.

    Manifests are deleted first, so that every listed run has its packs. A pack is deleted before the key file
    of its run.
    """

    manifests: list[str] = field(default_factory=list)
    packs: list[str] = field(default_factory=list)
    key_files: list[str] = field(default_factory=list)

    @property
    def objects(self) -> list[str]:
        """All objects in the order in which they are deleted."""
        return [*self.manifests, *self.packs, *self.key_files]


def plan_pruning(store: Store, *, proven: Iterable[str], now: datetime) -> PrunePlan:
    """Return what can be deleted at `now`. Packs that a kept run needs stay, whichever run wrote them.

    Raises Damaged and what the store raises.
    """
    names = store.keys("runs/")
    _ensure_pack_lists_exist(names)
    retained = select_retained_runs(list_run_ids(names), proven=proven, now=now)
    manifests = [name for name in names if _is_prunable(parse_run_id(name), retained, now=now)]
    needed_packs = {
        pack
        for name in names
        if name.endswith(".refs") and name not in manifests
        for pack in _read_pack_list(store, name)
    }
    runs_with_needed_keys = retained | {parse_run_id(pack) for pack in needed_packs}
    packs = [
        name
        for name in store.keys("packs/")
        if name not in needed_packs and _is_prunable(parse_run_id(name), retained, now=now)
    ]
    key_files = [
        name
        for name in store.keys("keys/")
        if _is_prunable(_key_file_run_id(name), retained, now=now)
        and _key_file_run_id(name) not in runs_with_needed_keys
    ]
    return PrunePlan(manifests, packs, key_files)


def _key_file_run_id(name: str) -> str:
    return name.removeprefix("keys/").partition(".")[0]


def _read_pack_list(store: Store, name: str) -> list[str]:
    return [line.split()[0] for line in (store.read(name) or b"").decode().splitlines() if line]


def _ensure_pack_lists_exist(names: Iterable[str]) -> None:
    """Raise Damaged when a manifest has no list of packs, because its run might need any pack."""
    listed = {name.removesuffix(".refs") for name in names if name.endswith(".refs")}
    if unlisted := sorted({name for name in names if not name.endswith(".refs")} - listed):
        raise Damaged(
            f"{unlisted[0]}.refs is missing. Nothing is deleted while it is unknown what that run needs."
        )
