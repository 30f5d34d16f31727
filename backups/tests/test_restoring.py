"""Restores that are interrupted, partial, proven, or not allowed to begin."""

import json
import os
import subprocess
import sys

import psycopg
import pytest

from backups.engine.errors import BackupRefused, Damaged
from backups.engine.repository import Repository
from backups.engine.restore import restore, unfinished
from backups.tests.test_increments import Runs, now
from backups.tests.test_increments import source as filled  # noqa: F401 - a fixture
from backups.tests.test_traps import act
from config import embedded_servers
from tests.stack import ROOT

KILLED = """
import json, os, sys
from pathlib import Path
from backups.engine import restore
from backups.engine.repository import Repository
from backups.engine.encryption import Keys
facts = json.loads(sys.argv[1])
from core.storage.object_store import FolderStore
repository = Repository(FolderStore(Path(facts["folder"])), Keys(masters=(bytes.fromhex(facts["master"]),)))
seen = []
def step(self, connection, name, genuine=restore.Restoring.step):
    genuine(self, connection, name)
    seen.append(name)
    if len(seen) == facts["after"]: os._exit(9)  # within the transaction that it notes
restore.Restoring.step = step
restore.restore(repository, repository.manifest(repository.find()), facts["dsn"], workers=2)
os._exit(0)
"""


@pytest.fixture
def runs(filled, store, keys):  # noqa: F811
    made = Runs(filled, store, keys)
    made.take()
    act(filled, "UPDATE page SET words = 'second' WHERE id % 9 = 0", "DELETE FROM event WHERE id % 5 = 0")
    made.take()
    return made


def killed_after(runs, target, steps):
    facts = {
        "folder": str(runs.store.folder),
        "master": runs.keys.masters[0].hex(),
        "dsn": target,
        "after": steps,
    }
    done = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(facts)], cwd=ROOT, env=dict(os.environ), timeout=60
    )
    return done.returncode


def again(runs, target, **options):
    repository = Repository(runs.store, runs.keys)
    restore(repository, repository.manifest(repository.runs()[-1]), target, **options)


def test_a_restore_that_is_killed_anywhere_goes_on_where_it_was(runs, filled, databases):  # noqa: F811
    steps = 1
    code = 9
    while code == 9:
        target = databases()
        code = killed_after(runs, target, steps)
        if code == 9:
            with psycopg.connect(target) as connection:
                assert unfinished(connection), "until it is whole, it says so"
            with pytest.raises(BackupRefused, match="did not finish"):
                again(runs, target)
            again(runs, target, resume=True, prove=True)
        assert now(target) == now(filled)
        with psycopg.connect(target) as connection:
            assert unfinished(connection) is None
            with pytest.raises(psycopg.errors.ForeignKeyViolation):
                connection.execute("INSERT INTO event (page) VALUES (99999)")
        steps += 2
    assert (code, steps > 9) == (0, True)


def test_going_on_with_another_run_is_refused(runs, databases):
    target = databases()
    assert killed_after(runs, target, 2) == 9
    repository = Repository(runs.store, runs.keys)

    with pytest.raises(BackupRefused, match="another run"):
        restore(repository, repository.manifest(repository.runs()[0]), target, resume=True)


def test_nothing_to_go_on_with_begins(runs, filled, databases):  # noqa: F811
    target = databases()
    again(runs, target, resume=True)

    assert now(target) == now(filled)


def test_some_tables_are_a_part_and_say_so(runs, filled, databases):  # noqa: F811
    target = databases()
    again(runs, target, tables=["public.event"], prove=True)

    found = now(target)
    wanted = now(filled)
    assert found.pop("backup_restore")[0] == 1
    found.pop("backup_restore_step")
    assert (found["event"], found["page"][0]) == (wanted["event"], 0)
    with psycopg.connect(target) as connection:
        assert unfinished(connection)
    with pytest.raises(BackupRefused, match=r"no table public\.nothing"):
        again(runs, databases(), tables=["public.nothing"])


def test_proof_finds_content_that_differs_where_counts_do_not(runs, databases):
    repository = Repository(runs.store, runs.keys)
    manifest = repository.manifest(repository.runs()[-1])
    page = next(table for table in manifest.tables if table.name == "page")
    page.ranges[0].total += 1

    restore(repository, manifest, databases())
    target = databases()
    with pytest.raises(Damaged, match=r"public\.page"):
        restore(repository, manifest, target, prove=True)
    with psycopg.connect(target) as connection:
        assert unfinished(connection)


def test_a_range_that_lacks_rows_is_noticed_as_it_is_loaded(runs, databases):
    repository = Repository(runs.store, runs.keys)
    manifest = repository.manifest(repository.runs()[0])
    page = next(table for table in manifest.tables if table.name == "page")
    count, mark = page.ranges[0].mark
    page.ranges[0].mark = (count + 1, mark)
    assert page.ranges[0].live is None

    target = databases()
    with pytest.raises(Damaged, match=r"public\.page does not have as many rows"):
        restore(repository, manifest, target)
    with psycopg.connect(target) as connection:
        assert unfinished(connection)


def test_an_older_server_is_refused(runs, databases):
    repository = Repository(runs.store, runs.keys)
    manifest = repository.manifest(repository.runs()[-1])
    manifest.cluster["version"] = 990000

    with pytest.raises(BackupRefused, match="older"):
        restore(repository, manifest, databases())


def test_a_moment_finds_the_newest_run_before_it(runs):
    from datetime import UTC, datetime, timedelta

    repository = Repository(runs.store, runs.keys)
    first, second = repository.runs()
    moments = [datetime.fromisoformat(repository.manifest(name).at) for name in (first, second)]

    assert repository.find() == second
    assert repository.find(at=moments[1]) == second
    assert repository.find(at=moments[1] - timedelta(microseconds=1)) == first
    assert repository.find(run=first.rpartition("-")[2]) == first
    with pytest.raises(BackupRefused, match="no such run"):
        repository.find(at=datetime(2020, 1, 1, tzinfo=UTC))


def test_a_process_refuses_to_serve_what_is_not_whole(databases):
    target = databases()
    act(target, "CREATE TABLE backup_restore (run text)")
    facts = psycopg.conninfo.conninfo_to_dict(target)
    url = (
        f"postgresql://{facts['user']}:{facts['password']}@{facts['host']}:{facts['port']}/{facts['dbname']}"
    )
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": url,
            "PORT": str(embedded_servers.free_port()),
            "INTERNAL_PORT": str(embedded_servers.free_port()),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, "restore that did not finish" in done.stderr) == (1, True)
