"""The heart: whatever happens between runs and while they are taken, what is restored is what the snapshot
saw.
"""

import os
import random
import secrets
import threading

import psycopg
import pytest

from backups.engine import backup
from backups.engine.backup import Plan
from backups.engine.repository import Repository
from backups.engine.restore import restore
from backups.engine.source import Source

ROUNDS = 200 if os.environ.get("SOAK") else 10
TABLES = """
CREATE TABLE page (id serial PRIMARY KEY, words text, body jsonb, seen timestamptz DEFAULT now());
CREATE TABLE event (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, page int REFERENCES page ON DELETE CASCADE, amount numeric(12, 3), double_amount numeric GENERATED ALWAYS AS (amount * 2) STORED);
CREATE TABLE parted (day date NOT NULL, value text) PARTITION BY RANGE (day);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE INDEX ON parted (day);
CREATE TYPE mood AS ENUM ('calm', 'wild');
CREATE TABLE "Odd name" ("a b" mood, e"\\u0009x" text, bytes bytea, many int[]);
""".replace('e"\\u0009x"', '"tab\tin"')


@pytest.fixture
def source(databases):
    dsn = databases()
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLES)
        connection.execute(
            "INSERT INTO page (words, body) SELECT repeat('w', n % 300), jsonb_build_object('n', n) FROM generate_series(1, 3000) AS n"
        )
        connection.execute(
            "INSERT INTO event (page, amount) SELECT 1 + n % 3000, n FROM generate_series(1, 3000) AS n"
        )
        connection.execute(
            "INSERT INTO parted SELECT '2026-01-01'::date + n % 58, 'v' || n FROM generate_series(1, 500) AS n"
        )
    return dsn


def sums(connection):
    """Count and sum of row hashes of every table, as text."""
    names = connection.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND n.nspname = 'public' ORDER BY 1"
    ).fetchall()
    return {
        name: connection.execute(
            f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM ONLY {name} t"
        ).fetchone()
        for (name,) in names
    }


class Runs:
    """A chain of runs of one database."""

    def __init__(self, dsn, store, keys, *, bound=lambda xmin: xmin, blocks=1024):
        self.source = Source(dsn, {})
        self.store = store
        self.keys = keys
        self.bound = bound
        self.previous = None
        self.id_key = secrets.token_bytes(32)

    def take(self, **more):
        plan = Plan(
            self.source,
            self.store,
            self.keys,
            self.id_key,
            secrets.token_hex(8),
            self.previous,
            bound=self.bound,
            **more,
        )
        taken = backup.take(plan)
        taken.publish(self.store)
        self.previous = taken.manifest
        return taken.manifest

    def restored(self, target):
        repository = Repository(self.store, self.keys)
        restore(repository, repository.manifest(repository.runs()[-1]), target)
        with psycopg.connect(target, autocommit=True) as connection:
            return sums(connection)


def now(dsn):
    with psycopg.connect(dsn, autocommit=True) as connection:
        return sums(connection)


def test_a_run_comes_back_whole(source, databases, store, keys):
    runs = Runs(source, store, keys)
    target = databases()
    runs.take()

    assert runs.restored(target) == now(source)
    with psycopg.connect(target, autocommit=True) as connection:
        fresh = connection.execute("INSERT INTO page (words) VALUES ('next') RETURNING id").fetchone()[0]
        assert fresh == 3001, "sequences go on where they were"
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            connection.execute("INSERT INTO event (page) VALUES (99999)")


def test_an_increment_ships_what_changed_and_nothing_when_nothing_did(source, databases, store, keys):
    runs = Runs(source, store, keys)
    first = runs.take()
    idle = runs.take()
    assert not [pack for pack in idle.packs if idle.run in pack], "nothing changed, nothing is stored"
    with psycopg.connect(source, autocommit=True) as connection:
        connection.execute("UPDATE page SET words = 'changed' WHERE id = 7")
        connection.execute("DELETE FROM page WHERE id = 8")
    third = runs.take()

    sizes = {
        run: sum(size for pack, (_, size) in third.packs.items() if run in pack)
        for run in (first.run, third.run)
    }
    assert 0 < sizes[third.run] < sizes[first.run] / 3
    assert runs.restored(databases()) == now(source)


class Trouble(threading.Thread):
    """Transactions with savepoints, rollbacks, large values, deletes; some stay open over a run or more."""

    def __init__(self, dsn, seed):
        super().__init__(daemon=True)
        self.dsn = dsn
        self.draw = random.Random(seed)
        self.ended = threading.Event()
        self.failed = []

    def run(self):
        with psycopg.connect(self.dsn) as connection:
            while not self.ended.is_set():
                try:
                    self._transaction(connection)
                except psycopg.errors.ForeignKeyViolation:  # somebody deleted what it was about to refer to
                    connection.rollback()
                except psycopg.errors.OperationalError as error:  # deadlocks and serialisation are life
                    if not isinstance(
                        error, psycopg.errors.DeadlockDetected | psycopg.errors.LockNotAvailable
                    ):
                        self.failed.append(error)
                    connection.rollback()

    def _transaction(self, connection):
        for _ in range(self.draw.randrange(1, 6)):
            if self.draw.random() < 0.4:
                try:
                    with connection.transaction():  # a savepoint, and one in it
                        self._act(connection)
                        with connection.transaction():
                            self._act(connection)
                            if self.draw.random() < 0.4:
                                raise ZeroDivisionError
                except ZeroDivisionError:
                    pass
            else:
                self._act(connection)
            if self.draw.random() < 0.2:
                self.ended.wait(self.draw.random() * 0.2)
        connection.rollback() if self.draw.random() < 0.2 else connection.commit()

    def _act(self, connection):
        pk = self.draw.randrange(1, 3500)
        act = self.draw.choice(["insert", "update", "large", "delete", "lock", "event", "parted"])
        if act == "insert":
            connection.execute(
                "INSERT INTO page (words) SELECT repeat('i', %s) FROM generate_series(1, %s)",
                [pk % 50, 1 + pk % 9],
            )
        elif act == "update":
            connection.execute("UPDATE page SET words = %s WHERE id BETWEEN %s AND %s", [str(pk), pk, pk + 3])
        elif act == "large":
            connection.execute(
                "UPDATE page SET body = jsonb_build_object('t', %s::text) WHERE id = %s",
                [self.draw.randbytes(3000).hex(), pk],
            )
        elif act == "delete":
            connection.execute("DELETE FROM page WHERE id BETWEEN %s AND %s", [pk, pk + 2])
        elif act == "lock":
            connection.execute("SELECT FROM page WHERE id = %s FOR UPDATE", [pk])
        elif act == "event":
            connection.execute(
                "INSERT INTO event (page, amount) SELECT id, %s FROM page ORDER BY id LIMIT 3", [pk]
            )
        else:
            connection.execute(
                "UPDATE parted SET day = '2026-01-01'::date + %s WHERE value = %s", [pk % 58, f"v{pk % 500}"]
            )


def upheaval(connection, draw, number):
    """What happens between runs now and then."""
    act = draw.choice(
        ["vacuum", "full", "cluster", "truncate", "column", "default", "freeze", "none", "none", "none"]
    )
    statements = {
        "vacuum": "VACUUM page",
        "full": "VACUUM FULL event",
        "cluster": "CLUSTER page USING page_pkey",
        "truncate": "TRUNCATE parted_2",
        "freeze": "VACUUM FREEZE page",
        "column": f"ALTER TABLE page ADD COLUMN more_{number} int DEFAULT {number}",
        "default": f"ALTER TABLE parted ADD COLUMN also_{number} text DEFAULT 'd{number}'",
        "none": "SELECT 1",
    }
    connection.execute("SET lock_timeout = '20s'")
    connection.execute(statements[act])


def chain(source, databases, store, keys, *, rounds, bound=lambda xmin: xmin):
    """How many of `rounds` runs under fire, restored, differ from what their snapshot saw."""
    runs = Runs(source, store, keys, bound=bound)
    draw = random.Random(5)
    different = 0
    for number in range(rounds):
        troubles = [Trouble(source, 1000 * number + each) for each in range(3)]
        for trouble in troubles:
            trouble.start()
        seen = {}
        threading.Event().wait(0.15)
        runs.take(looked=lambda snapshot, seen=seen: seen.update(sums_in(snapshot)))
        for trouble in troubles:
            trouble.ended.set()
        for trouble in troubles:
            trouble.join(30)
            assert trouble.failed == []
        if number % 5 == 4 or number == rounds - 1:
            different += runs.restored(databases()) != seen
        with psycopg.connect(source, autocommit=True) as connection:
            upheaval(connection, draw, number)
    return different


def sums_in(snapshot):
    with snapshot.reader() as connection:
        connection.execute("SET search_path = public")
        return sums(connection)


def test_whatever_happens_meanwhile_the_restore_is_what_the_snapshot_saw(source, databases, store, keys):
    assert chain(source, databases, store, keys, rounds=ROUNDS) == 0


def test_a_bound_that_is_too_late_is_noticed(source, databases, store, keys):
    """The negative control: with the snapshot's xmax in place of its xmin, what was open then is lost."""
    with pytest.raises(Exception, match=r"in no part|as many"):
        assert chain(source, databases, store, keys, rounds=40, bound=lambda xmin: xmin + 40) == 0, "no part"
