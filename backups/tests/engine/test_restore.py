"""Restores that are interrupted, partial, compared by content, or refused."""

import json
import os
import secrets
import subprocess
import sys

import psycopg
import pytest

from backups import config
from backups.engine.encryption import Keys
from backups.engine.errors import BackupRefused, Damaged, KeyMissing
from backups.engine.repository import Repository
from backups.engine.restore import find_unfinished_restore, restore_backup
from backups.engine.schema.archive import StatementFailed
from backups.engine.schema.restore_steps import ROW_SECURITY_STEP
from backups.engine.source import Source
from backups.tests.helpers import BackupChain, database_checksums, database_url, run_sql
from config import embedded_servers
from tests.database import superuser_dsn
from tests.stack import ROOT

KILLED_RESTORE = """
import json, os, sys
from pathlib import Path
from backups.engine import restore
from backups.engine.encryption import Keys
from backups.engine.schema.postgres_programs import PostgresPrograms
from backups.engine.repository import Repository
from backups.engine.schema.archive import SchemaArchive
from core.storage.object_store import FolderStore
arguments = json.loads(sys.argv[1])
keys = Keys(masters=(bytes.fromhex(arguments["master"]),))
repository = Repository(FolderStore(Path(arguments["folder"])), keys)
steps = []
def record_step(self, connection, name, original=restore.RestoreJob.record_step):
    original(self, connection, name)
    steps.append(name)
    if len(steps) == arguments["steps"]: os._exit(9)  # inside the transaction that records the step
restore.RestoreJob.record_step = record_step
def execute(self, connection, entries, original=SchemaArchive.execute):
    original(self, connection, entries)
    step = f"{entries[0].section}" if entries else "nothing"
    if step == arguments["schema_step"]: os._exit(9)  # the objects exist, but are not committed
SchemaArchive.execute = execute
manifest = repository.load_manifest(repository.find_manifest())
restore.restore_backup(
    repository,
    manifest,
    arguments["dsn"],
    programs=PostgresPrograms((Path(arguments["programs"]),)),
    workers=2,
)
os._exit(0)
"""


@pytest.fixture
def two_runs(chain, source_dsn):
    """A chain with a full run and an increment."""
    chain.take()
    run_sql(
        source_dsn, "UPDATE page SET words = 'second' WHERE id % 9 = 0", "DELETE FROM event WHERE id % 5 = 0"
    )
    chain.take()
    return chain


def restore_in_killed_process(chain, target, *, steps=0, schema_step=""):
    """Restore the newest run in a process that ends itself after `steps` steps, or while it creates objects.

    Returns its exit code.
    """
    arguments = {
        "folder": str(chain.store.folder),
        "master": chain.keys.masters[0].hex(),
        "dsn": target,
        "programs": str(embedded_servers.postgres_programs()),
        "steps": steps,
        "schema_step": schema_step,
    }
    completed = subprocess.run(
        [sys.executable, "-c", KILLED_RESTORE, json.dumps(arguments)],
        cwd=ROOT,
        env=dict(os.environ),
        timeout=60,
    )
    return completed.returncode


def unfinished_restore(target):
    with psycopg.connect(target) as connection:
        return find_unfinished_restore(connection)


def test_restore_backup_resumes_after_it_was_killed_at_any_step(two_runs, source_dsn, create_database):
    steps = 1
    code = 9
    while code == 9:
        target = create_database()
        code = restore_in_killed_process(two_runs, target, steps=steps)
        if code == 9:
            assert unfinished_restore(target)
            with pytest.raises(BackupRefused, match="did not finish"):
                two_runs.restore_newest(target)
            two_runs.restore_newest(target, resume=True, compare_content=True)
        assert database_checksums(target) == database_checksums(source_dsn)
        assert unfinished_restore(target) is None
        with psycopg.connect(target) as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("INSERT INTO event (page) VALUES (99999)")
        steps += 2
    assert (code, steps > 9) == (0, True)


@pytest.mark.parametrize("section", ["pre-data", "post-data"])
def test_restore_backup_resumes_after_it_was_killed_while_objects_were_created(
    two_runs, source_dsn, create_database, section
):
    target = create_database()
    assert restore_in_killed_process(two_runs, target, schema_step=section) == 9

    # Nothing is left of the first phase, so that a new restore may begin.
    assert bool(unfinished_restore(target)) == (section == "post-data")
    two_runs.restore_newest(target, resume=section == "post-data", compare_content=True)

    assert database_checksums(target) == database_checksums(source_dsn)
    with psycopg.connect(target) as connection, pytest.raises(psycopg.errors.ForeignKeyViolation):
        connection.execute("INSERT INTO event (page) VALUES (99999)")


def test_restore_backup_of_selected_tables_needs_nothing_of_the_others(create_database, store, keys):
    """The chosen table has a type, a sequence, an index and a constraint; another object cannot be made."""
    source = create_database()
    run_sql(
        source,
        "CREATE TYPE mood AS ENUM ('calm')",
        "CREATE FUNCTION shout(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)'",
        "CREATE TABLE chosen (id serial PRIMARY KEY, m mood, name text CHECK (name <> ''))",
        "CREATE INDEX chosen_name ON chosen (shout(name))",
        "CREATE TABLE other (id int REFERENCES chosen (id))",
        "INSERT INTO chosen (m, name) VALUES ('calm', 'a')",
    )
    superuser = superuser_dsn(psycopg.conninfo.conninfo_to_dict(source)["dbname"])
    run_sql(superuser, "CREATE FUNCTION c() RETURNS int LANGUAGE internal AS 'pg_backend_pid'")
    chain = BackupChain(source, store, keys)
    chain.take()
    with pytest.raises(StatementFailed, match=r"FUNCTION public c\(\).*permission denied.*CREATE FUNCTION"):
        chain.restore_newest(create_database())
    target = create_database()

    chain.restore_newest(target, tables=[("public", "chosen")], compare_content=True)

    with psycopg.connect(target) as connection:
        assert connection.execute("INSERT INTO chosen (name) VALUES ('b') RETURNING id").fetchone() == (2,)
        indexes = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'chosen' ORDER BY 1")
        assert indexes.fetchall() == [("chosen_name",), ("chosen_pkey",)]
        assert connection.execute("SELECT to_regclass('other')").fetchone() == (None,)


def test_restore_backup_fills_materialized_views_before_policies_hide_rows(create_database, store, keys):
    source = create_database()
    run_sql(
        source,
        "CREATE TABLE page (id int)",
        "INSERT INTO page VALUES (1), (2)",
        "CREATE MATERIALIZED VIEW ids AS SELECT id FROM page",
        "CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM ids",
        "ALTER TABLE page ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "CREATE POLICY none ON page USING (false)",
        "COMMENT ON POLICY none ON page IS 'hides all'",
    )
    chain = BackupChain(source, store, keys)
    chain.source = Source(superuser_dsn(psycopg.conninfo.conninfo_to_dict(source)["dbname"]), {})
    chain.take()
    target = create_database()

    chain.restore_newest(target, compare_content=True)

    with psycopg.connect(target) as connection:
        counts = "SELECT (SELECT count(*) FROM ids), (SELECT * FROM counted), (SELECT count(*) FROM page)"
        assert connection.execute(counts).fetchone() == (2, 2, 0)


def test_restore_backup_cannot_compare_the_content_once_policies_are_in_force(two_runs, create_database):
    target = create_database()
    assert restore_in_killed_process(two_runs, target, steps=2) == 9
    run_sql(target, f"INSERT INTO backup_restore_step VALUES ('{ROW_SECURITY_STEP}')")

    with pytest.raises(BackupRefused, match="cannot be compared any more"):
        two_runs.restore_newest(target, resume=True, compare_content=True)


def test_restore_backup_refuses_a_server_without_the_extensions(two_runs, create_database):
    manifest = two_runs.newest_manifest()
    manifest.schema.catalogue["extensions"].append("postgis")

    with pytest.raises(BackupRefused, match="does not have the extensions postgis"):
        restore_backup(two_runs.repository(), manifest, create_database(), programs=config.programs())


def test_restore_backup_reads_gzip_and_zstd(source_dsn, create_database, store, keys):
    chain = BackupChain(source_dsn, store, keys)
    zstd = chain.take()
    run_sql(source_dsn, "UPDATE page SET words = 'second' WHERE id % 9 = 0")
    chain.take(compression="gzip")

    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)
    chain.previous = None
    gzip = chain.take(compression="gzip")
    reader = chain.repository().pack_reader(gzip)
    assert next(iter(reader._decrypted_parts(gzip.schema.archive)))[:2] == b"\x1f\x8b"
    assert (
        reader.read_chunk(gzip.schema.archive)[64:]
        == chain.repository().pack_reader(zstd).read_chunk(zstd.schema.archive)[64:]
    )


def test_restore_backup_refuses_to_resume_another_run(two_runs, create_database):
    target = create_database()
    assert restore_in_killed_process(two_runs, target, steps=2) == 9
    repository = two_runs.repository()

    with pytest.raises(BackupRefused, match="another run"):
        restore_backup(
            repository,
            repository.load_manifest(repository.list_manifests()[0]),
            target,
            programs=config.programs(),
            resume=True,
        )


def test_restore_backup_with_resume_starts_in_an_empty_database(two_runs, source_dsn, create_database):
    target = create_database()

    two_runs.restore_newest(target, resume=True)

    assert database_checksums(target) == database_checksums(source_dsn)


def test_restore_backup_of_selected_tables_leaves_the_target_marked(two_runs, source_dsn, create_database):
    target = create_database()

    two_runs.restore_newest(target, tables=[("public", "event")], compare_content=True)

    restored = database_checksums(target)
    expected = database_checksums(source_dsn)
    assert restored.pop("backup_restore")[0] == 1
    restored.pop("backup_restore_step")
    assert restored == {"event": expected["event"]}, "other tables are not created"
    assert unfinished_restore(target)
    with pytest.raises(BackupRefused, match=r"no table public\.nothing"):
        two_runs.restore_newest(create_database(), tables=[("public", "nothing")])


def test_restore_backup_compares_content_even_where_row_counts_are_equal(two_runs, create_database):
    repository = two_runs.repository()
    manifest = two_runs.newest_manifest()
    page = next(table for table in manifest.tables if table.name == ("public", "page"))
    page.ranges[0].hash_sum += 1

    restore_backup(repository, manifest, create_database(), programs=config.programs())
    target = create_database()
    with pytest.raises(Damaged, match=r"public\.page"):
        restore_backup(repository, manifest, target, programs=config.programs(), compare_content=True)

    assert unfinished_restore(target)


def test_restore_backup_fails_when_a_range_lacks_rows(two_runs, create_database):
    repository = two_runs.repository()
    manifest = repository.load_manifest(repository.list_manifests()[0])
    page = next(table for table in manifest.tables if table.name == ("public", "page"))
    row_count, version_hash = page.ranges[0].fingerprint
    page.ranges[0].fingerprint = (row_count + 1, version_hash)
    assert page.ranges[0].live_ctids is None
    target = create_database()

    with pytest.raises(Damaged, match=r"public\.page does not have as many rows"):
        restore_backup(repository, manifest, target, programs=config.programs())

    assert unfinished_restore(target)


def test_restore_backup_refuses_an_older_server(two_runs, create_database):
    manifest = two_runs.newest_manifest()
    manifest.cluster["version"] = 990000

    with pytest.raises(BackupRefused, match="older"):
        restore_backup(two_runs.repository(), manifest, create_database(), programs=config.programs())


def test_restore_backup_refuses_a_target_that_is_not_empty(two_runs, create_database):
    target = create_database()
    run_sql(target, "CREATE TABLE theirs (id int)", "INSERT INTO theirs VALUES (1)")

    with pytest.raises(BackupRefused, match=r"not empty.*theirs"):
        two_runs.restore_newest(target)

    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM theirs").fetchone() == (1,)
        assert connection.execute("SELECT to_regclass('backup_restore')").fetchone() == (None,)


@pytest.mark.parametrize(
    "damage", ["flipped", "dropped", "swapped", "truncated", "replayed", "key gone", "wrong key"]
)
def test_restore_backup_refuses_a_damaged_store_and_leaves_the_target_marked(
    chain, source_dsn, create_database, store, damage
):
    first = chain.take()
    run_sql(source_dsn, "UPDATE page SET words = 'new' WHERE id < 900")
    last = chain.take()
    first_pack, last_pack = (
        next(pack for pack in store.keys("packs/") if manifest.run_id in pack) for manifest in (first, last)
    )
    path = store.folder / last_pack
    blob = path.read_bytes()
    keys = chain.keys
    if damage == "flipped":
        path.write_bytes(blob[:-20] + bytes([blob[-20] ^ 1]) + blob[-19:])
    elif damage == "dropped":
        path.unlink()
    elif damage in {"swapped", "replayed"}:
        path.write_bytes((store.folder / first_pack).read_bytes())
    elif damage == "truncated":
        path.write_bytes(blob[: len(blob) // 2])
    elif damage == "key gone":
        (store.folder / "keys" / f"{last.run_id}.json").unlink()
    else:
        keys = Keys(masters=(secrets.token_bytes(32),))
    target = create_database()
    repository = Repository(store, keys)

    def restore():
        manifest = repository.load_manifest(repository.list_manifests()[-1])
        restore_backup(repository, manifest, target, programs=config.programs())

    with pytest.raises((Damaged, KeyMissing)) as error:
        restore()

    assert last.run_id in str(error.value)
    with psycopg.connect(target) as connection:
        relations = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone()
        assert find_unfinished_restore(connection) == last.run_id or relations == (0,)


def test_serve_refuses_a_database_whose_restore_did_not_finish(create_database):
    target = create_database()
    run_sql(target, "CREATE TABLE backup_restore (run text)")

    completed = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url(target),
            "PORT": str(embedded_servers.free_port()),
            "INTERNAL_PORT": str(embedded_servers.free_port()),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (completed.returncode, "restore that did not finish" in completed.stderr) == (1, True)
