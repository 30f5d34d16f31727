"""Shared parts of the backup tests: a database to back up, checksums of its tables, and chains of runs."""

import re
import secrets
import subprocess
import time

import psycopg
from django.db import connections

from audit.actors import SYSTEM
from backups import config
from backups.engine.backup import take_backup
from backups.engine.plan import BackupPlan
from backups.engine.repository import Repository
from backups.engine.restore import restore_backup
from backups.engine.source import Source
from backups.services import runs

TABLES = """
CREATE TABLE page (id serial PRIMARY KEY, words text, body jsonb, seen timestamptz DEFAULT now());
CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    page int REFERENCES page ON DELETE CASCADE,
    amount numeric(12, 3),
    double_amount numeric GENERATED ALWAYS AS (amount * 2) STORED
);
CREATE TABLE parted (day date NOT NULL, value text) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE INDEX ON parted (day);
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE "Odd name" ("a b" mood, "tab\tin" text, bytes bytea, many int[]);
"""
ROWS = (
    "INSERT INTO page (words, body)"
    " SELECT repeat('w', n % 300), jsonb_build_object('n', n) FROM generate_series(1, 3000) AS n",
    "INSERT INTO event (page, amount) SELECT 1 + n % 3000, n FROM generate_series(1, 3000) AS n",
    "INSERT INTO parted SELECT '2026-01-01'::date + n % 58, 'v' || n FROM generate_series(1, 500) AS n",
)
PUBLIC_TABLES_QUERY = """
SELECT c.oid::regclass::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = 'public'
ORDER BY 1"""


def server_dsn(name):
    """The DSN of a database on the server of the tests."""
    database = connections["default"].settings_dict
    return psycopg.conninfo.make_conninfo(
        host=database["HOST"],
        port=database["PORT"],
        user=database["USER"],
        password=database["PASSWORD"],
        dbname=name,
    )


def database_url(dsn):
    parts = psycopg.conninfo.conninfo_to_dict(dsn)
    return (
        f"postgresql://{parts['user']}:{parts['password']}@{parts['host']}:{parts['port']}/{parts['dbname']}"
    )


def run_sql(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def wait_for_older_transactions(dsn):
    """Wait until every transaction on the server ended that is older than this call.

    An increment also stores the rows that were written while such a transaction was open.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        xid = connection.execute("SELECT pg_current_xact_id()::text::bigint").fetchone()[0]
        for _ in range(300):
            statement = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
            if connection.execute(statement).fetchone()[0] > xid:
                return
            time.sleep(0.1)
    raise AssertionError("Another test holds a transaction open.")


def table_checksums(connection):
    """Row count and sum of row hashes of every public table."""
    names = connection.execute(PUBLIC_TABLES_QUERY).fetchall()
    return {
        name: connection.execute(
            f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM ONLY {name} t"
        ).fetchone()
        for (name,) in names
    }


def database_checksums(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        return table_checksums(connection)


class BackupChain:
    """Runs of one database that build on each other."""

    def __init__(self, dsn, store, keys, *, adjust_xmin=lambda xmin: xmin):
        self.source = Source(dsn, {})
        self.store = store
        self.keys = keys
        self.adjust_xmin = adjust_xmin
        self.previous = None
        self.id_key = secrets.token_bytes(32)

    def take(self, *, run_id=None, **plan_fields):
        """Take and publish a run. Returns its manifest."""
        plan = BackupPlan(
            self.source,
            config.programs(),
            self.store,
            self.keys,
            self.id_key,
            run_id or secrets.token_hex(8),
            self.previous,
            adjust_xmin=self.adjust_xmin,
            **plan_fields,
        )
        staged = take_backup(plan)
        staged.publish(self.store)
        self.previous = staged.manifest
        return staged.manifest

    def repository(self):
        return Repository(self.store, self.keys)

    def newest_manifest(self):
        repository = self.repository()
        return repository.load_manifest(repository.list_manifests()[-1])

    def restore_newest(self, target, **options):
        repository = self.repository()
        manifest = repository.load_manifest(repository.list_manifests()[-1])
        restore_backup(repository, manifest, target, programs=config.programs(), **options)

    def restored_checksums(self, target):
        self.restore_newest(target)
        return database_checksums(target)


def own_pack_bytes(manifest):
    """Bytes of the packs that the run itself wrote."""
    return sum(size for pack, (_, size) in manifest.packs.items() if manifest.run_id in pack)


def execute_backup(*, provable=True, **options):
    """Queue and execute a run of this installation, while holding the worker lock."""
    for _ in range(100):
        with runs.worker_lock() as acquired:
            if acquired:
                return runs.execute_run(runs.queue_run(actor=SYSTEM, provable=provable, **options))
        # The server releases the lock of the run before when it notices the end of that connection.
        time.sleep(0.1)
    raise AssertionError("Another process holds the worker lock.")


def pack_files(folder):
    return sorted(path for path in (folder / "packs").rglob("*") if path.is_file())


def dump_lines(dsn):
    """The sorted lines of `pg_dump --schema-only`, which the engine does not print.

    Brackets and casts of text are left out: PostgreSQL adds or removes them when it reads its own output.
    """
    program = config.programs().find_program("pg_dump", minimum_version=18)
    text = subprocess.run(
        [program, "--schema-only", "--no-owner", "--no-privileges", dsn],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = (line for line in text.splitlines() if not re.match(r"\\(un)?restrict", line))
    return sorted(re.sub(r"::(character varying|text)(\[\])?|[()\s]", "", line) for line in lines)
