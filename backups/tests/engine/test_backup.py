"""Taking runs and increments: what a restore brings back is what the snapshot saw."""

import os
import random
import threading

import psycopg
import pytest

from backups.engine import backup
from backups.tests.helpers import (
    BackupChain,
    database_checksums,
    own_pack_bytes,
    run_sql,
    table_checksums,
    wait_for_older_transactions,
)

ROUNDS = 200 if os.environ.get("SOAK") else 10


def test_take_backup_stores_everything_that_a_restore_needs(chain, source_dsn, create_database):
    target = create_database()
    chain.take()

    assert chain.restored_checksums(target) == database_checksums(source_dsn)
    with psycopg.connect(target, autocommit=True) as connection:
        new_id = connection.execute("INSERT INTO page (words) VALUES ('next') RETURNING id").fetchone()[0]
        assert new_id == 3001, "the sequence continues"
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("INSERT INTO event (page) VALUES (99999)")


def test_take_backup_stores_only_what_changed(chain, source_dsn, create_database):
    wait_for_older_transactions(source_dsn)
    full = chain.take()
    unchanged = chain.take()
    assert own_pack_bytes(unchanged) == 0
    run_sql(source_dsn, "UPDATE page SET words = 'changed' WHERE id = 7", "DELETE FROM page WHERE id = 8")

    increment = chain.take()

    assert 0 < own_pack_bytes(increment) < own_pack_bytes(full) / 3
    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


# --- writes during and between runs ---


class Writer(threading.Thread):
    """Runs transactions with savepoints, rollbacks, large values and deletes, some longer than a run."""

    def __init__(self, dsn, seed):
        super().__init__(daemon=True)
        self.dsn = dsn
        self.random = random.Random(seed)
        self.ended = threading.Event()
        self.errors = []

    def run(self):
        with psycopg.connect(self.dsn) as connection:
            while not self.ended.is_set():
                try:
                    self._run_transaction(connection)
                except psycopg.errors.ForeignKeyViolation:  # another writer deleted the referenced row
                    connection.rollback()
                except psycopg.errors.OperationalError as error:
                    expected = psycopg.errors.DeadlockDetected | psycopg.errors.LockNotAvailable
                    if not isinstance(error, expected):
                        self.errors.append(error)
                    connection.rollback()

    def _run_transaction(self, connection):
        for _ in range(self.random.randrange(1, 6)):
            if self.random.random() < 0.4:
                try:
                    with connection.transaction():  # a savepoint, and another one inside it
                        self._write(connection)
                        with connection.transaction():
                            self._write(connection)
                            if self.random.random() < 0.4:
                                raise ZeroDivisionError
                except ZeroDivisionError:
                    pass
            else:
                self._write(connection)
            if self.random.random() < 0.2:
                self.ended.wait(self.random.random() * 0.2)
        connection.rollback() if self.random.random() < 0.2 else connection.commit()

    def _write(self, connection):
        pk = self.random.randrange(1, 3500)
        operation = self.random.choice(["insert", "update", "large", "delete", "lock", "event", "parted"])
        if operation == "insert":
            connection.execute(
                "INSERT INTO page (words) SELECT repeat('i', %s) FROM generate_series(1, %s)",
                [pk % 50, 1 + pk % 9],
            )
        elif operation == "update":
            connection.execute("UPDATE page SET words = %s WHERE id BETWEEN %s AND %s", [str(pk), pk, pk + 3])
        elif operation == "large":
            connection.execute(
                "UPDATE page SET body = jsonb_build_object('t', %s::text) WHERE id = %s",
                [self.random.randbytes(3000).hex(), pk],
            )
        elif operation == "delete":
            connection.execute("DELETE FROM page WHERE id BETWEEN %s AND %s", [pk, pk + 2])
        elif operation == "lock":
            connection.execute("SELECT FROM page WHERE id = %s FOR UPDATE", [pk])
        elif operation == "event":
            connection.execute(
                "INSERT INTO event (page, amount) SELECT id, %s FROM page ORDER BY id LIMIT 3", [pk]
            )
        else:
            connection.execute(
                "UPDATE parted SET day = '2026-01-01'::date + %s WHERE value = %s", [pk % 58, f"v{pk % 500}"]
            )


def run_maintenance(connection, generator, number):
    """Run a random statement of the kind that happens between runs: maintenance, or a change of a table."""
    statements = {
        "vacuum": "VACUUM page",
        "full": "VACUUM FULL event",
        "cluster": "CLUSTER page USING page_pkey",
        "truncate": "TRUNCATE parted_2",
        "column": f"ALTER TABLE page ADD COLUMN more_{number} int DEFAULT {number}",
        "default": f"ALTER TABLE parted ADD COLUMN also_{number} text DEFAULT 'd{number}'",
        "freeze": "VACUUM FREEZE page",
        "none": "SELECT 1",
    }
    operation = generator.choice([*statements, "none", "none"])
    connection.execute("SET lock_timeout = '20s'")
    connection.execute(statements[operation])


def snapshot_checksums(snapshot):
    with snapshot.open_reader() as connection:
        connection.execute("SET search_path = public")
        return table_checksums(connection)


def count_wrong_restores(chain, create_database, *, rounds):
    """Take `rounds` runs during concurrent writes. Returns how many restores differ from their snapshot."""
    dsn = chain.source.dsn
    generator = random.Random(5)
    wrong_count = 0
    for number in range(rounds):
        writers = [Writer(dsn, 1000 * number + index) for index in range(3)]
        for writer in writers:
            writer.start()
        expected = {}
        threading.Event().wait(0.15)
        chain.take(
            on_tables_read=lambda snapshot, expected=expected: expected.update(snapshot_checksums(snapshot))
        )
        for writer in writers:
            writer.ended.set()
        for writer in writers:
            writer.join(30)
            assert writer.errors == []
        if number % 5 == 4 or number == rounds - 1:
            wrong_count += chain.restored_checksums(create_database()) != expected
        with psycopg.connect(dsn, autocommit=True) as connection:
            run_maintenance(connection, generator, number)
    return wrong_count


def test_take_backup_during_concurrent_writes_restores_what_the_snapshot_saw(chain, create_database):
    assert count_wrong_restores(chain, create_database, rounds=ROUNDS) == 0


def test_take_backup_with_too_late_an_xmin_loses_rows_and_the_restore_fails(
    source_dsn, create_database, store, keys
):
    """The negative control: near the snapshot's xmax, rows of transactions that were open then are lost."""
    chain = BackupChain(source_dsn, store, keys, adjust_xmin=lambda xmin: xmin + 40)

    with pytest.raises(Exception, match=r"in no part|as many"):
        assert count_wrong_restores(chain, create_database, rounds=40) == 0, "no part"


def test_take_backup_includes_a_transaction_that_was_open_at_the_previous_run(
    chain, source_dsn, create_database
):
    with psycopg.connect(source_dsn) as connection:
        connection.execute("INSERT INTO page (words) VALUES ('slow')")
        chain.take()
        run_sql(source_dsn, "INSERT INTO page (words) VALUES ('fast')")
        connection.commit()
    chain.take()

    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


def test_take_backup_includes_savepoints_of_an_open_transaction(chain, source_dsn, create_database):
    with psycopg.connect(source_dsn) as connection:
        connection.execute("INSERT INTO page (words) VALUES ('parent')")
        for number in range(5):
            with connection.transaction():
                connection.execute("INSERT INTO page (words) VALUES (%s)", [f"savepoint {number}"])
        run_sql(source_dsn, "INSERT INTO page (words) VALUES ('other')")
        chain.take()
        connection.commit()
    chain.take()

    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


def test_take_backup_records_deletions(chain, source_dsn, create_database):
    chain.take()
    run_sql(source_dsn, "DELETE FROM event WHERE id % 7 = 0", "DELETE FROM page WHERE id < 20")
    chain.take()

    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


def test_take_backup_reads_a_table_again_after_its_columns_or_types_changed(
    chain, source_dsn, create_database
):
    """Adding a column with a default changes the content without new row versions."""
    chain.take()
    run_sql(source_dsn, "ALTER TABLE page ADD COLUMN colour text DEFAULT 'red'")
    chain.take()
    run_sql(
        source_dsn,
        "ALTER TABLE page DROP COLUMN words",
        "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'",
        "INSERT INTO \"Odd name\" VALUES ('quiet', 'x', '\\x00ff', '{1,2}')",
    )
    chain.take()

    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


def test_take_backup_stores_nothing_after_vacuum_and_everything_after_a_rewrite(
    chain, source_dsn, create_database
):
    full = chain.take()
    run_sql(source_dsn, "VACUUM page", "VACUUM FREEZE event")
    with psycopg.connect(source_dsn) as connection:
        connection.execute("SELECT FROM page FOR UPDATE")
    assert own_pack_bytes(chain.take()) == 0
    run_sql(source_dsn, "VACUUM FULL page", "CLUSTER event USING event_pkey")

    assert own_pack_bytes(chain.take()) > own_pack_bytes(full) / 2
    assert chain.restored_checksums(create_database()) == database_checksums(source_dsn)


# --- when everything is read again ---


def test_take_backup_is_full_after_two_billion_transactions(chain):
    full = chain.take()
    chain.previous.xmin -= backup.MAX_XID_AGE

    manifest = chain.take()

    assert (manifest.parent, own_pack_bytes(manifest) > own_pack_bytes(full) / 2) == ("", True)


@pytest.mark.parametrize("field", ["system", "timeline", "version", "database"])
def test_take_backup_is_full_in_another_cluster_or_on_another_timeline(chain, field):
    chain.take()
    chain.previous.cluster[field] = "another"

    assert chain.take().parent == ""


def test_take_backup_is_full_when_the_lsn_went_back(chain):
    chain.take()
    chain.previous.lsn = "FFFFFFFF/0"

    assert chain.take().parent == ""
