"""Snapshots, locks, and databases that cannot be backed up."""

import psycopg
import pytest

from backups.engine import source
from backups.engine.errors import BackupRefused
from backups.tests.helpers import BackupChain, run_sql


def test_open_snapshot_locks_all_tables_before_it_takes_the_snapshot(chain, source_dsn, monkeypatch):
    """TRUNCATE is not MVCC-safe: it must wait for the run, or have happened before the snapshot."""
    execute = source.psycopg.Connection.execute
    order = []

    def record_order(self, query, *args, **options):
        text = query if isinstance(query, str) else query.as_string(self)
        if "LOCK TABLE" in text or "pg_export_snapshot" in text:
            order.append("lock" if "LOCK" in text else "snapshot")
        return execute(self, query, *args, **options)

    monkeypatch.setattr(source.psycopg.Connection, "execute", record_order)
    chain.take()
    assert order == ["lock"] * order.count("lock") + ["snapshot"]
    assert order.count("lock") >= 5

    refused = []

    def truncate(snapshot):
        try:
            run_sql(source_dsn, "SET lock_timeout = '300ms'", "TRUNCATE parted_1")
        except psycopg.errors.LockNotAvailable:
            refused.append("truncate")

    chain.take(on_tables_read=truncate)
    assert refused == ["truncate"]


def test_open_snapshot_names_a_locked_table_and_who_holds_it(chain, source_dsn, monkeypatch):
    monkeypatch.setattr(source, "SNAPSHOT_ATTEMPTS", 1)
    monkeypatch.setitem(source.SESSION_SETTINGS, "lock_timeout", "200ms")
    with psycopg.connect(source_dsn, application_name="nightly report") as holder:
        holder.execute("LOCK TABLE page IN ACCESS EXCLUSIVE MODE")
        pid = holder.info.backend_pid

        with pytest.raises(BackupRefused, match=rf"public\.page was locked by process {pid}.*nightly report"):
            chain.take()


def test_wait_until_durable_refuses_when_the_wal_is_not_flushed_in_time(chain):
    with source.open_snapshot(chain.source) as snapshot:
        snapshot.lsn = "FFFFFFFF/FFFFFFFF"
        with pytest.raises(BackupRefused, match="disk"):
            snapshot.wait_until_durable(timeout_seconds=0.2)


def test_open_snapshot_refuses_an_older_server(chain, monkeypatch):
    monkeypatch.setattr(source, "MIN_SERVER_VERSION", 990000)

    with pytest.raises(BackupRefused, match="15"):
        chain.take()


def test_open_snapshot_fails_for_a_role_that_row_level_security_filters(chain, source_dsn):
    run_sql(
        source_dsn,
        "ALTER TABLE page ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE page FORCE ROW LEVEL SECURITY",
        "CREATE POLICY few ON page USING (id < 10)",
    )

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        chain.take()

    assert chain.repository().list_manifests() == []


def test_ensure_everything_can_be_stored_refuses_large_objects(chain, source_dsn):
    run_sql(source_dsn, "SELECT lo_from_bytea(0, 'x')")

    with pytest.raises(BackupRefused, match="large objects"):
        chain.take()


def test_source_connect_overrides_settings_of_the_database(source_dsn, store, keys, create_database):
    """The text form of values must not depend on the settings of a role or database."""
    name = psycopg.conninfo.conninfo_to_dict(source_dsn)["dbname"]
    run_sql(
        source_dsn,
        f"ALTER DATABASE {name} SET datestyle = 'German'",
        f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'",
        f"ALTER DATABASE {name} SET bytea_output = 'escape'",
        f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'",
        f"ALTER DATABASE {name} SET extra_float_digits = -10",
        f"ALTER DATABASE {name} SET intervalstyle = 'sql_standard'",
        "CREATE TABLE kinds (a timestamptz, b float8, c interval, d bytea, e text)",
        "INSERT INTO kinds VALUES ('2026-03-29 02:30+01', 0.1 + 0.2, '-1 day 03:00', '\\x00ff5c', 'é 中 🙂')",
    )
    chain = BackupChain(source_dsn, store, keys)
    chain.take()
    target = create_database()

    chain.restore_newest(target)

    assert kinds_as_text(target) == kinds_as_text(source_dsn)


def kinds_as_text(dsn):
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "SET datestyle = ISO; SET timezone = 'UTC'; SET bytea_output = hex; SET extra_float_digits = 3;"
            " SET client_encoding = UTF8; SET intervalstyle = postgres"
        )
        return connection.execute("SELECT a::text, b::text, c::text, d::text, e FROM kinds").fetchall()
