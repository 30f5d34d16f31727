"""Runs that are cancelled, concurrent, killed, or that the server cannot decrypt."""

import json
import os
import secrets
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest

from backups import config
from backups.engine.backup import RangeReader, take_backup
from backups.engine.encryption import Keys, generate_identity
from backups.engine.errors import BackupError, BackupRefused, KeyMissing, Stopped
from backups.engine.plan import BackupPlan
from backups.engine.repository import Repository
from backups.engine.restore import restore_backup
from backups.engine.retention import generate_run_id
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.source import Source, open_snapshot
from backups.tests.helpers import (
    BackupChain,
    database_checksums,
    run_sql,
)
from config import embedded_servers
from tests.stack import ROOT


def test_take_backup_that_is_cancelled_leaves_the_previous_run(chain, source_dsn, create_database):
    chain.take()
    expected = database_checksums(source_dsn)
    run_sql(source_dsn, "DELETE FROM event")

    with pytest.raises(Stopped):
        chain.take(should_stop=lambda: True)

    assert chain.restored_checksums(create_database()) == expected


def test_take_backup_ends_with_the_error_of_pg_dump(chain, tmp_path):
    """A program that fails ends the readers, and nothing is published."""
    program = tmp_path / "pg_dump"
    program.write_text(
        "#!/bin/sh\n"
        "[ \"$1\" = --version ] && echo 'pg_dump (PostgreSQL) 99.0' && exit\n"
        "echo 'out of memory' >&2; exit 1\n"
    )
    program.chmod(0o755)
    plan = BackupPlan(
        chain.source, PostgresPrograms((tmp_path,)), chain.store, chain.keys, b"i" * 32, "failed"
    )

    with pytest.raises(BackupRefused, match="The schema cannot be read: out of memory"):
        take_backup(plan)

    assert chain.repository().list_manifests() == []


def test_read_tables_raises_when_it_was_stopped(chain):
    with open_snapshot(chain.source) as snapshot:
        plan = BackupPlan(chain.source, config.programs(), chain.store, chain.keys, b"i" * 32, "stopped")
        reader = RangeReader(plan, snapshot, None, {})
        reader.stop()
        with pytest.raises(Stopped, match="before all rows were read"):
            reader.read_tables(snapshot.tables)


def test_take_backup_twice_at_once_makes_two_good_runs(source_dsn, store, keys, create_database):
    """The engine has no lock of its own; the services hold one. Two runs must not damage each other."""
    run_ids = []
    errors = []

    def take():
        plan = BackupPlan(
            Source(source_dsn, {}), config.programs(), store, keys, b"i" * 32, secrets.token_hex(8)
        )
        try:
            staged = take_backup(plan)
            staged.publish(store)
            run_ids.append(staged.manifest.run_id)
        except BackupError as error:
            errors.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (len(run_ids), errors) == (2, [])
    repository = Repository(store, keys)
    for name in repository.list_manifests():
        target = create_database()
        restore_backup(repository, repository.load_manifest(name), target, programs=config.programs())
        assert database_checksums(target) == database_checksums(source_dsn)


def test_take_backup_with_recipients_only_cannot_be_decrypted_by_the_server(
    source_dsn, store, create_database
):
    private, public = generate_identity()
    chain = BackupChain(source_dsn, store, Keys(recipients=(public,)))
    chain.take()
    run_sql(source_dsn, "UPDATE page SET words = 'more' WHERE id < 9")
    chain.take()
    for name in chain.repository().list_manifests():
        with pytest.raises(KeyMissing):
            chain.repository().load_manifest(name)

    chain.keys = Keys(identities=(private,))
    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


KILLED_RUN = """
import json, os, subprocess, sys
from pathlib import Path
from backups.engine.backup import RangeReader, take_backup
from backups.engine.plan import BackupPlan
from backups.engine.encryption import Keys
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.source import Source
arguments = json.loads(sys.argv[1])
step = arguments["step"]

class Store:
    "A folder, in a process that ends at a step."
    def __init__(self):
        self.folder = Path(arguments["folder"])
    def create(self, key, body):
        if step == "pack" and key.startswith("packs/"): os._exit(9)
        path = self.folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        if step == "key" and key.startswith("keys/"): os._exit(9)
        if step == "refs" and key.endswith(".refs"): os._exit(9)

if step == "pg_dump":
    popen = subprocess.Popen
    def start_and_die(command, **options):
        process = popen(command, **options)
        if "--schema-only" in command: os._exit(9)
        return process
    subprocess.Popen = start_and_die

plan = BackupPlan(
    Source(arguments["dsn"], {}),
    PostgresPrograms((Path(arguments["programs"]),)),
    Store(),
    Keys(masters=(bytes.fromhex(arguments["master"]),)),
    b"i" * 32,
    arguments["run"],
    on_tables_read=lambda snapshot: os._exit(9) if step == "scan" else None,
)
staged = take_backup(plan)
if step == "manifest": os._exit(9)
staged.publish(plan.store)
if step == "end": os._exit(9)
"""


@pytest.mark.parametrize("step", ["key", "pg_dump", "scan", "pack", "manifest", "refs", "end"])
def test_take_backup_that_is_killed_leaves_a_complete_run_or_none(
    chain, source_dsn, store, create_database, step
):
    chain.take()
    before = database_checksums(source_dsn)
    run_sql(source_dsn, "DELETE FROM event WHERE id % 2 = 0")
    arguments = {
        "dsn": source_dsn,
        "programs": str(embedded_servers.postgres_programs()),
        "folder": str(store.folder),
        "master": chain.keys.masters[0].hex(),
        "step": step,
        "run": generate_run_id(datetime.now(UTC)),
    }
    completed = subprocess.run(
        [sys.executable, "-c", KILLED_RUN, json.dumps(arguments)],
        cwd=ROOT,
        env=dict(os.environ),
        timeout=60,
    )
    assert completed.returncode == 9

    assert len(chain.repository().list_manifests()) == (2 if step == "end" else 1)
    expected = database_checksums(source_dsn) if step == "end" else before
    assert chain.restored_checksums(create_database()) == expected
    # Fails when a lock was left behind; a pg_dump that lost its parent ends by itself.
    run_sql(source_dsn, "SET lock_timeout = '10s'", "DROP TABLE event")
