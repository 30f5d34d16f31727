"""What stays, what goes, and what is found when somebody looks."""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from backups.engine.backup import Plan
from backups.engine.encryption import Keys
from backups.engine.errors import Damaged, KeyMissing
from backups.engine.repository import Repository, rewrap
from backups.engine.retention import kept, new_run, removal, time_of
from backups.engine.verification import scrub, verify, verify_sums
from backups.tests.test_increments import Runs, now
from backups.tests.test_increments import source as filled  # noqa: F401 - a fixture
from tests.stack import ROOT

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def test_names_sort_by_time_and_tell_it():
    names = [new_run(NOW + timedelta(seconds=count)) for count in range(50)]

    assert names == sorted(names)
    assert len({new_run(NOW) for _ in range(1000)}) == 1000
    assert time_of(names[7]) == NOW + timedelta(seconds=7)


def test_a_year_of_runs_thins_out():
    runs = [new_run(NOW - timedelta(hours=6) * count) for count in range(4 * 400)]
    stay = kept(runs, proven=[], now=NOW)

    ages = sorted((NOW - time_of(run)).total_seconds() / 86400 for run in stay)
    assert 28 <= len(stay) <= 28 + 14 + 8 + 12
    assert len([age for age in ages if age < 7]) == 28
    assert max(ages) > 300
    assert kept([], proven=[], now=NOW) == set()


def test_daily_pruning_leaves_weeks_and_months_behind():
    """Four runs a day for four hundred days, pruned each day: what is kept grows old."""
    runs = set()
    now = NOW
    for day in range(400):
        now = NOW + timedelta(days=day)
        runs |= {new_run(now + timedelta(hours=6 * count)) for count in range(4)}
        runs &= kept(runs, proven=[], now=now + timedelta(hours=23))

    ages = sorted((now - time_of(run)).days for run in runs)
    assert len([age for age in ages if age > 60]) >= 8, ages
    assert max(ages) > 300
    assert len(ages) <= 28 + 14 + 8 + 12 + 4


def test_a_run_whose_list_is_gone_stops_every_pruning(runs, store):
    take_at(runs, NOW)
    (name,) = [key for key in store.keys("runs/") if key.endswith(".refs")]
    store.delete(name)

    with pytest.raises(Damaged, match="refs is missing"):
        removal(store, proven=[], now=NOW + timedelta(days=900))
    with pytest.raises(Damaged, match="not whole"):
        verify_sums(store, name.removesuffix(".refs"))


def test_nothing_after_the_newest_proven_run_goes_and_it_stays_for_ever():
    runs = [new_run(NOW - timedelta(days=count, hours=1)) for count in range(900)]
    proven = runs[800]

    stay = kept(runs, proven=[runs[850], proven], now=NOW)

    assert set(runs[:801]) <= stay
    assert runs[850] not in stay


@pytest.fixture
def runs(filled, store, keys):  # noqa: F811
    return Runs(filled, store, keys)


def take_at(runs, at):
    """A run with the name of another time."""
    plan = Plan(runs.source, runs.store, runs.keys, runs.id_key, new_run(at), runs.previous)
    from backups.engine import backup

    taken = backup.take(plan)
    taken.publish(runs.store)
    runs.previous = taken.manifest
    return taken.manifest


def test_pruning_keeps_what_the_rest_builds_on(runs, filled, databases, store):  # noqa: F811
    times = [NOW - timedelta(days=days) for days in (40, 39, 38, 20, 3, 2, 0)]
    for number, at in enumerate(times):
        with psycopg.connect(filled, autocommit=True) as connection:
            connection.execute("UPDATE page SET words = %s WHERE id = %s", [f"n{number}", number])
        last = take_at(runs, at)
    before = set(store.keys(""))
    wanted = removal(store, proven=[], now=NOW)

    assert wanted.manifests
    assert not set(wanted.all) & set(last.packs), "the newest builds on the oldest"
    for name in wanted.all:
        store.delete(name)
    assert set(store.keys("")) == before - set(wanted.all)
    assert runs.restored(databases()) == now(filled)
    assert removal(store, proven=[], now=NOW).all == []


def test_packs_of_a_run_that_died_go_after_two_days_and_not_before(runs, store):
    take_at(runs, NOW)
    orphan = new_run(NOW - timedelta(hours=47))
    store.create(f"packs/{orphan}/000001", b"x")
    store.create(f"keys/{orphan}.json", b"x")

    assert removal(store, proven=[], now=NOW).all == []
    later = removal(store, proven=[], now=NOW + timedelta(hours=2)).all
    assert later == [f"packs/{orphan}/000001", f"keys/{orphan}.json"]


def test_verify_names_the_pack_that_is_not_what_it_was(runs, store):
    manifest = runs.take()
    repository = Repository(store, runs.keys)
    assert verify(repository, manifest) == ([], len(manifest.packs))
    name = sorted(manifest.packs)[0]
    path = store.folder / name
    path.write_bytes(path.read_bytes()[:-1])

    assert [name in fault for fault in verify(Repository(store, runs.keys), manifest)[0]] == [True]


def test_a_scrub_reads_again_and_finds_what_drifted(runs, filled):  # noqa: F811
    manifest = runs.take()
    plan = Plan(runs.source, runs.store, runs.keys, runs.id_key, "scrub")
    assert (scrub(plan, manifest).ranges >= 4, scrub(plan, manifest).drifted) == (True, [])
    page = next(table for table in manifest.tables if table.name == "page")
    chunk = page.ranges[0].parts[0].rows
    page.ranges[0].parts[0].rows = type(chunk)("0" * 64, chunk.size, chunk.pieces)

    assert scrub(plan, manifest).drifted == ["public.page, blocks from 0"]


class Stumbling:
    """A store in which one thing goes wrong, and then the process is gone."""

    def __init__(self, store, *, at):
        self.store = store
        self.at = at
        self.keys = store.keys

    def create(self, key, body):
        self.store.create(key, body)
        if self.at == "written":
            raise KeyboardInterrupt

    def read(self, key):
        found = self.store.read(key)
        return found[:-9] if self.at == "garbled" and key.count(".") > 1 else found

    def delete(self, key):
        if self.at == "before the old goes":
            raise KeyboardInterrupt
        self.store.delete(key)


@pytest.mark.parametrize("at", ["written", "garbled", "before the old goes"])
def test_a_change_of_keys_that_is_killed_leaves_a_key_that_opens(runs, store, at):
    manifest = runs.take()
    name = Repository(store, runs.keys).runs()[0]
    new = Keys(masters=(os.urandom(32), *runs.keys.masters))
    with pytest.raises((KeyboardInterrupt, Damaged)):
        rewrap(Repository(Stumbling(store, at=at), new), manifest.run, new)

    assert Repository(store, runs.keys).manifest(name).run == manifest.run, "the old key opens it still"
    assert rewrap(Repository(store, new), manifest.run, new) is True
    assert rewrap(Repository(store, new), manifest.run, new) is False
    assert Repository(store, Keys(masters=new.masters[:1])).manifest(name).run == manifest.run
    with pytest.raises(KeyMissing):
        Repository(store, runs.keys).manifest(name)


KILLED = """
import json, os, sys
from pathlib import Path
from backups.engine import backup
from backups.engine.backup import Plan
from backups.engine.packs import PackWriter
from backups.engine.encryption import Keys
from backups.engine.source import Source
from backups.engine import source
facts = json.loads(sys.argv[1])

class Store:
    "A folder, in a process that dies at the given place."
    def __init__(self): self.folder = Path(facts["folder"])
    def create(self, key, body):
        if facts["at"] == "pack" and key.startswith("packs/"): os._exit(9)
        path = self.folder / key; path.parent.mkdir(parents=True, exist_ok=True); path.write_bytes(body)
        if facts["at"] == "key" and key.startswith("keys/"): os._exit(9)
        if facts["at"] == "refs" and key.endswith(".refs"): os._exit(9)
plan = Plan(Source(facts["dsn"], {}), Store(), Keys(masters=(bytes.fromhex(facts["master"]),)), b"i" * 32, facts["run"],
    looked=lambda snapshot: os._exit(9) if facts["at"] == "scan" else None)
taken = backup.take(plan)
if facts["at"] == "manifest": os._exit(9)
taken.publish(plan.store)
if facts["at"] == "end": os._exit(9)
"""


@pytest.mark.parametrize("place", ["key", "scan", "pack", "manifest", "refs", "end"])
def test_a_run_that_is_killed_at_a_step_is_there_whole_or_not_at_all(runs, filled, store, databases, place):  # noqa: F811
    runs.take()
    before = now(filled)
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("DELETE FROM event WHERE id % 2 = 0")
    facts = {
        "dsn": filled,
        "folder": str(store.folder),
        "master": runs.keys.masters[0].hex(),
        "at": place,
        "run": new_run(datetime.now(UTC)),
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(facts)], cwd=ROOT, env=dict(os.environ), timeout=60
    )
    assert done.returncode == 9

    listed = Repository(store, runs.keys).runs()
    assert len(listed) == (2 if place == "end" else 1)
    assert runs.restored(databases()) == (now(filled) if place == "end" else before)
    with psycopg.connect(filled, autocommit=True) as connection:
        connection.execute("DROP TABLE event")  # no lock was left behind
