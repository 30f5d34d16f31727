"""Which runs stay, and what may go.

No key is needed: a run's plain list says which packs it needs, and its name when it was taken.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from backups.engine.errors import Damaged
from backups.engine.packs import Store

# Of the last so many spans one run stays each: the newest in it.
SPANS = ((timedelta(hours=6), 28), (timedelta(days=1), 14), (timedelta(weeks=1), 8), (timedelta(days=30), 12))
ORPHANED_FOR = timedelta(hours=48)  # a run that is being taken has packs that no list names yet


def new_run(now: datetime) -> str:
    """A name that sorts by time: milliseconds since the epoch, and 48 random bits, hexadecimal."""
    return f"{int(now.timestamp() * 1000):012x}{secrets.token_hex(6)}"


def time_of(run: str) -> datetime:
    return datetime.fromtimestamp(int(run[:12], 16) / 1000, tz=UTC)


def run_of(name: str) -> str:
    """Of a manifest, a list of packs or a pack."""
    return name.split("/")[1] if name.startswith("packs/") else name.removesuffix(".refs").rpartition("-")[2]


def kept(runs: Iterable[str], *, proven: Iterable[str], now: datetime) -> set[str]:
    """The runs that stay.

    The newest one that was proven to restore does, and everything after it, whatever its age.
    """
    found = sorted(set(runs))
    stay = set(found[-1:])
    for span, count in SPANS:
        newest: dict[int, str] = {}
        for run in found:
            slot = int(
                time_of(run).timestamp() // span.total_seconds()
            )  # fixed: slots that move with `now` would never let a run grow old
            newest[slot] = max(run, newest.get(slot, ""))
        last = int(now.timestamp() // span.total_seconds())
        stay |= {run for slot, run in newest.items() if slot > last - count}
    if good := sorted(set(proven) & set(found))[-1:]:
        stay |= {run for run in found if run >= good[0]}
    return stay


def runs_in(names: Iterable[str]) -> set[str]:
    """The runs that a listing of `runs/` has manifests of."""
    return {run_of(name) for name in names if not name.endswith(".refs")}


def going(names: Iterable[str], *, proven: Iterable[str], now: datetime) -> list[str]:
    """Of a listing of `runs/`, the runs that a pruning takes away, oldest first."""
    runs = runs_in(names)
    stay = kept(runs, proven=proven, now=now)
    return sorted(run for run in runs if _may_go(run, stay, now=now))


def _may_go(run: str, stay: set[str], *, now: datetime) -> bool:
    return run not in stay and now - time_of(run) > ORPHANED_FOR


@dataclass
class Removal:
    """What a pruning takes away.

    Manifests go first, so that no listed run lacks a pack; a pack goes before its key file.
    """

    manifests: list[str] = field(default_factory=list)
    packs: list[str] = field(default_factory=list)
    key_files: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """Every object, in the order in which they are deleted."""
        return [*self.manifests, *self.packs, *self.key_files]


def removal(store: Store, *, proven: Iterable[str], now: datetime) -> Removal:
    """What can go now.

    Packs that a run which stays builds on stay, whoever made them. Raises Damaged, what the store raises.
    """
    names = store.keys("runs/")
    _complete(names)
    stay = kept(runs_in(names), proven=proven, now=now)
    gone = [name for name in names if _may_go(run_of(name), stay, now=now)]
    needed = {
        pack for name in names if name.endswith(".refs") and name not in gone for pack in _packs(store, name)
    }
    makers = stay | {run_of(pack) for pack in needed}
    old = [
        name
        for name in [*store.keys("packs/"), *store.keys("keys/")]
        if name not in needed
        and _may_go(_maker(name), stay, now=now)
        and not (name.startswith("keys/") and _maker(name) in makers)
    ]
    packs = [name for name in old if not name.startswith("keys/")]
    return Removal(gone, packs, [name for name in old if name.startswith("keys/")])


def _maker(name: str) -> str:
    return name.removeprefix("keys/").partition(".")[0] if name.startswith("keys/") else run_of(name)


def _packs(store: Store, refs: str) -> list[str]:
    return [line.split()[0] for line in (store.read(refs) or b"").decode().splitlines() if line]


def _complete(names: Iterable[str]) -> None:
    """A run whose plain list is gone might need any pack. Raises Damaged."""
    listed = {name.removesuffix(".refs") for name in names if name.endswith(".refs")}
    if bare := sorted({name for name in names if not name.endswith(".refs")} - listed):
        raise Damaged(
            f"{bare[0]}.refs is missing: nothing is deleted while it is unknown what that run needs."
        )
