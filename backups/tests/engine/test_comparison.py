"""A comparison fails for every fault that is planted in the restored database."""

import psycopg
import pytest

from backups import config
from backups.engine import comparison, restore
from backups.engine.errors import BackupRefused, Damaged, StructureDiffers
from backups.tests.helpers import BackupChain, run_sql
from tests.database import superuser_dsn

OBJECTS = """
CREATE TABLE page (id int PRIMARY KEY, name text CONSTRAINT named CHECK (name <> ''));
CREATE INDEX page_name ON page (name);
CREATE TABLE link (page int CONSTRAINT of_page REFERENCES page);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
CREATE TRIGGER guarded BEFORE DELETE ON page FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE link ENABLE ROW LEVEL SECURITY;
CREATE POLICY readers ON link USING (page > 0);
CREATE VIEW names AS SELECT name FROM page;
CREATE TABLE day (at date) PARTITION BY RANGE (at);
CREATE TABLE day_1 PARTITION OF day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE INDEX day_at ON day (at);
INSERT INTO page SELECT n, 'page ' || n FROM generate_series(1, 20) AS n;
INSERT INTO link VALUES (1), (2);
"""
INVALID = "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'page_name'::regclass"
FAULTS = {
    "index": "DROP INDEX page_name",
    "index of a partition": "DROP INDEX day_at",
    "invalid index": INVALID,
    "policy": "DROP POLICY readers ON link",
    "row-level security": "ALTER TABLE link DISABLE ROW LEVEL SECURITY",
    "trigger": "DROP TRIGGER guarded ON page",
    "disabled trigger": "ALTER TABLE page DISABLE TRIGGER guarded",
    "function": "DROP FUNCTION twice",
    "function body": "CREATE OR REPLACE FUNCTION twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 3'",
    "check": "ALTER TABLE page DROP CONSTRAINT named",
    "foreign key": "ALTER TABLE link DROP CONSTRAINT of_page",
    "view": "CREATE OR REPLACE VIEW names AS SELECT upper(name) AS name FROM page",
    "column default": "ALTER TABLE page ALTER name SET DEFAULT 'x'",
    "additional table": "CREATE TABLE more (a int)",
}


@pytest.fixture
def restored(create_database, store, keys):
    """A chain with one run, and the DSN of a database that it was restored into."""
    source = create_database()
    run_sql(source, OBJECTS)
    chain = BackupChain(source, store, keys)
    chain.take()
    target = create_database()
    chain.restore_newest(target, compare_content=True)
    return chain, target


def compare_structure(chain, target):
    manifest = chain.newest_manifest()
    archive = chain.repository().pack_reader(manifest).read_chunk(manifest.schema.archive)
    return comparison.compare_structure(manifest, archive, target, programs=config.programs())


def test_compare_structure_finds_every_planted_fault(restored):
    chain, target = restored
    assert "are equal" in compare_structure(chain, target)
    superuser = superuser_dsn(psycopg.conninfo.conninfo_to_dict(target)["dbname"])
    missed = []
    for name, statement in FAULTS.items():
        run_sql(superuser, "SET allow_system_table_mods = on", statement)
        try:
            compare_structure(chain, target)
            missed.append(name)
        except StructureDiffers:
            pass
        run_sql(superuser, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public AUTHORIZATION getyousite")
        chain.restore_newest(target)
    assert missed == []


def test_compare_structure_names_what_differs(restored):
    chain, target = restored
    run_sql(target, FAULTS["function body"])

    with pytest.raises(StructureDiffers, match=r"missing: .*n \* 2"):
        compare_structure(chain, target)


def test_compare_structure_refuses_another_major_version(restored):
    chain, target = restored
    manifest = chain.newest_manifest()
    manifest.cluster["version"] += 10000

    with pytest.raises(BackupRefused, match="major version"):
        comparison.compare_structure(manifest, b"", target, programs=config.programs())


def restore_with_changed_rows(chain, target, statement, monkeypatch):
    """Restore and compare the content; `statement` changes the rows in between."""
    restore_sequences = restore._restore_sequences

    def change_rows(connection, manifest):
        restore_sequences(connection, manifest)
        connection.execute("SET search_path = public")
        connection.execute(statement)

    monkeypatch.setattr(restore, "_restore_sequences", change_rows)
    chain.restore_newest(target, compare_content=True)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE page SET name = 'other' WHERE id = 7",
        "DELETE FROM page WHERE id = 7",
        "INSERT INTO link VALUES (3)",
    ],
    ids=["one cell", "missing row", "additional row"],
)
def test_restore_backup_compares_the_sums_of_hashes(restored, create_database, statement, monkeypatch):
    monkeypatch.setattr(comparison, "compare_cells", lambda *arguments: None)

    with pytest.raises(Damaged, match=r"public\.(page|link)"):
        restore_with_changed_rows(restored[0], create_database(), statement, monkeypatch)


def test_restore_backup_compares_cells_and_names_the_column(restored, create_database, monkeypatch):
    monkeypatch.setattr(comparison, "have_same_content", lambda *arguments: True)
    statement = "UPDATE page SET name = 'other' WHERE id = 7"

    with pytest.raises(Damaged, match=r"public\.page differs from the backup: .* differ in name"):
        restore_with_changed_rows(restored[0], create_database(), statement, monkeypatch)
