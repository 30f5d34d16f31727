"""One test for each trap that other tools fell into (T1 to T10), and for what a repository may meet."""

import secrets
import threading

import psycopg
import pytest

from backups.engine import backup, source
from backups.engine.backup import Plan
from backups.engine.encryption import Keys, new_identity
from backups.engine.errors import BackupError, BackupRefused, Damaged, KeyMissing, Stopped
from backups.engine.repository import Repository
from backups.engine.restore import restore, unfinished
from backups.engine.source import Source
from backups.tests.test_increments import Runs, now
from backups.tests.test_increments import source as filled  # noqa: F401 - a fixture


@pytest.fixture
def runs(filled, store, keys):  # noqa: F811
    return Runs(filled, store, keys)


def act(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def own(manifest):
    """Bytes that a run stored itself."""
    return sum(size for pack, (_, size) in manifest.packs.items() if manifest.run in pack)


def test_t1_what_was_open_at_a_run_is_in_the_next(runs, filled, databases):  # noqa: F811
    with psycopg.connect(filled) as open_one:
        open_one.execute("INSERT INTO page (words) VALUES ('slow')")
        runs.take()
        act(filled, "INSERT INTO page (words) VALUES ('fast')")
        open_one.commit()
    runs.take()

    assert runs.restored(databases()) == now(filled)


def test_t2_savepoints_of_an_open_transaction_are_not_lost(runs, filled, databases):  # noqa: F811
    with psycopg.connect(filled) as open_one:
        open_one.execute("INSERT INTO page (words) VALUES ('parent')")
        for number in range(5):
            with open_one.transaction():
                open_one.execute("INSERT INTO page (words) VALUES (%s)", [f"savepoint {number}"])
        act(filled, "INSERT INTO page (words) VALUES ('other')")
        runs.take()
        open_one.commit()
    runs.take()

    assert runs.restored(databases()) == now(filled)


def test_t3_deletes_are_seen(runs, filled, databases):  # noqa: F811
    runs.take()
    act(filled, "DELETE FROM event WHERE id % 7 = 0", "DELETE FROM page WHERE id < 20")
    runs.take()

    assert runs.restored(databases()) == now(filled)


def test_t4_a_column_with_a_default_changes_content_without_a_version(runs, filled, databases):  # noqa: F811
    runs.take()
    act(filled, "ALTER TABLE page ADD COLUMN colour text DEFAULT 'red'")
    runs.take()
    act(
        filled,
        "ALTER TABLE page DROP COLUMN words",
        "ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'",
        "INSERT INTO \"Odd name\" VALUES ('quiet', 'x', '\\x00ff', '{1,2}')",
    )
    runs.take()

    assert runs.restored(databases()) == now(filled)


def test_t5_a_table_that_is_emptied_before_it_is_locked_is_not_taken_for_empty(
    runs,
    filled,  # noqa: F811
    monkeypatch,
    databases,
):
    """The moment is taken once all tables are locked: TRUNCATE then waits, or was before."""
    genuine = source.psycopg.Connection.execute
    order = []

    def watched(self, query, *more, **options):
        text = query if isinstance(query, str) else query.as_string(self)
        if "LOCK TABLE" in text or "pg_export_snapshot" in text:
            order.append("lock" if "LOCK" in text else "snapshot")
        return genuine(self, query, *more, **options)

    monkeypatch.setattr(source.psycopg.Connection, "execute", watched)
    runs.take()
    assert order == ["lock"] * order.count("lock") + ["snapshot"]
    assert order.count("lock") >= 5

    held = []

    def truncate():
        try:
            act(filled, "SET lock_timeout = '300ms'", "TRUNCATE parted_1")
        except psycopg.errors.LockNotAvailable:
            held.append("waited")

    runs.take(looked=lambda _: truncate())
    assert held == ["waited"]


def test_t6_a_run_is_not_published_before_what_it_saw_is_on_disk(runs, filled):  # noqa: F811
    with source.snapshot(runs.source) as snapshot:
        snapshot.lsn = "FFFFFFFF/FFFFFFFF"
        with pytest.raises(BackupRefused, match="disk"):
            snapshot.durable(seconds=0.2)


def test_t7_housekeeping_ships_nothing_and_rewriting_ships_everything(runs, filled, databases):  # noqa: F811
    first = runs.take()
    act(filled, "VACUUM page", "VACUUM FREEZE event")
    with psycopg.connect(filled) as connection:
        connection.execute("SELECT FROM page FOR UPDATE")
    assert own(runs.take()) == 0
    act(filled, "VACUUM FULL page", "CLUSTER event USING event_pkey")

    assert own(runs.take()) > own(first) / 2
    assert runs.restored(databases()) == now(filled)


def test_t8_after_two_billion_transactions_everything_is_read(runs, filled):  # noqa: F811
    first = runs.take()
    runs.previous.xmin -= backup.TOO_OLD
    again = runs.take()

    assert (again.parent, own(again) > own(first) / 2) == ("", True)


def test_t9_an_older_postgresql_is_refused(runs, monkeypatch):
    monkeypatch.setattr(source, "OLDEST", 990000)
    with pytest.raises(BackupRefused, match="14"):
        runs.take()


def test_t10_a_role_that_would_be_filtered_is_an_error_and_no_run(runs, filled):  # noqa: F811
    act(
        filled,
        "ALTER TABLE page ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE page FORCE ROW LEVEL SECURITY",
        "CREATE POLICY few ON page USING (id < 10)",
    )
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
        runs.take()
    assert Repository(runs.store, runs.keys).runs() == []


@pytest.mark.parametrize("change", ["system", "timeline", "version", "database"])
def test_another_cluster_or_history_is_read_whole(runs, change):
    runs.take()
    runs.previous.cluster[change] = "another"

    assert runs.take().parent == ""


def test_a_log_that_went_back_is_read_whole(runs):
    runs.take()
    runs.previous.lsn = "FFFFFFFF/0"

    assert runs.take().parent == ""


def test_large_objects_are_refused(runs, filled):  # noqa: F811
    act(filled, "SELECT lo_from_bytea(0, 'x')")
    with pytest.raises(BackupRefused, match="large objects"):
        runs.take()


def test_a_run_that_is_stopped_leaves_the_last_one(runs, filled, databases):  # noqa: F811
    runs.take()
    before = now(filled)
    act(filled, "DELETE FROM event")
    with pytest.raises(Stopped):
        runs.take(stopped=lambda: True)

    assert runs.restored(databases()) == before


def test_a_target_that_is_not_empty_is_refused_and_stays_as_it_was(runs, databases):
    runs.take()
    target = databases()
    act(target, "CREATE TABLE theirs (id int)", "INSERT INTO theirs VALUES (1)")

    with pytest.raises(BackupRefused, match=r"not empty.*theirs"):
        runs.restored(target)
    with psycopg.connect(target) as connection:
        assert connection.execute("SELECT count(*) FROM theirs").fetchone() == (1,)
        assert connection.execute("SELECT to_regclass('backup_restore')").fetchone() == (None,)


@pytest.mark.parametrize(
    "harm", ["flipped", "dropped", "swapped", "truncated", "replayed", "key gone", "wrong key"]
)
def test_a_harmed_repository_is_refused_and_the_target_says_it_is_not_whole(
    runs,
    filled,  # noqa: F811
    databases,
    store,
    harm,
):
    before = runs.take()
    act(filled, "UPDATE page SET words = 'new' WHERE id < 900")
    last = runs.take()
    first, second = (next(pack for pack in store.keys("packs/") if one.run in pack) for one in (before, last))
    path = store.folder / second
    other = store.folder / first
    keys = runs.keys
    blob = path.read_bytes()
    if harm == "flipped":
        path.write_bytes(blob[:-20] + bytes([blob[-20] ^ 1]) + blob[-19:])
    elif harm == "dropped":
        path.unlink()
    elif harm in {"swapped", "replayed"}:
        path.write_bytes(other.read_bytes())
    elif harm == "truncated":
        path.write_bytes(blob[: len(blob) // 2])
    elif harm == "key gone":
        (store.folder / "keys" / f"{last.run}.json").unlink()
    else:
        keys = Keys(masters=(secrets.token_bytes(32),))
    target = databases()
    repository = Repository(store, keys)

    with pytest.raises((Damaged, KeyMissing)) as refusal:
        restore(repository, repository.manifest(repository.runs()[-1]), target)
    assert last.run in str(refusal.value)
    with psycopg.connect(target) as connection:
        empty = connection.execute(
            "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchone()
        assert unfinished(connection) == last.run or empty == (0,)


def test_with_recipients_only_the_server_opens_nothing(filled, store, databases):  # noqa: F811
    """Its own keys are the public halves: runs go on, and neither packs nor manifests open."""
    private, public = new_identity()
    runs = Runs(filled, store, Keys(recipients=(public,)))
    runs.take()
    act(filled, "UPDATE page SET words = 'more' WHERE id < 9")
    runs.take()
    for name in Repository(store, runs.keys).runs():
        with pytest.raises(KeyMissing):
            Repository(store, runs.keys).manifest(name)

    runs.keys = Keys(identities=(private,))
    assert runs.restored(databases()) == now(filled)


def test_client_settings_change_nothing(filled, store, keys, databases):  # noqa: F811
    """Whoever connects may have any habits."""
    name = psycopg.conninfo.conninfo_to_dict(filled)["dbname"]
    act(
        filled,
        f"ALTER DATABASE {name} SET datestyle = 'German'",
        f"ALTER DATABASE {name} SET timezone = 'Asia/Kathmandu'",
        f"ALTER DATABASE {name} SET bytea_output = 'escape'",
        f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'",
        f"ALTER DATABASE {name} SET extra_float_digits = -10",
        f"ALTER DATABASE {name} SET intervalstyle = 'sql_standard'",
        "CREATE TABLE kinds (a timestamptz, b float8, c interval, d bytea, e text)",
        "INSERT INTO kinds VALUES ('2026-03-29 02:30+01', 0.1 + 0.2, '-1 day 03:00', '\\x00ff5c', 'é 中 🙂')",
    )
    runs = Runs(filled, store, keys)
    runs.take()
    target = databases()
    runs.restored(target)

    same = "SELECT a::text, b::text, c::text, d::text, e FROM kinds"
    with psycopg.connect(filled) as one, psycopg.connect(target) as other:
        for connection in (one, other):
            connection.execute(
                "SET datestyle = ISO; SET timezone = 'UTC'; SET bytea_output = hex; SET extra_float_digits = 3; SET client_encoding = UTF8; SET intervalstyle = postgres"
            )
        assert one.execute(same).fetchall() == other.execute(same).fetchall()


def test_what_a_database_is_made_of_comes_back(databases, store, keys):
    dsn = databases()
    target = databases()
    act(
        dsn,
        """
        CREATE SCHEMA other; CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE TYPE pair AS (a int, b text);
        CREATE FUNCTION twice(n int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT n * 2';
        CREATE TABLE other.parent (id int PRIMARY KEY DEFAULT twice(4), name text COLLATE "C" UNIQUE, many pair[], n positive, EXCLUDE USING gist (int4range(id, id, '[]') WITH &&));
        CREATE TABLE child (id int GENERATED BY DEFAULT AS IDENTITY (START 50 INCREMENT 5), parent int REFERENCES other.parent DEFERRABLE INITIALLY DEFERRED, CHECK (parent <> 13));
        CREATE INDEX partly ON child (parent DESC) WHERE parent > 3; CREATE STATISTICS both_of ON id, parent FROM child;
        CREATE VIEW seen WITH (security_barrier) AS SELECT * FROM child; CREATE MATERIALIZED VIEW kept AS SELECT count(*) AS n FROM child; CREATE UNIQUE INDEX ON kept (n);
        CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'sealed'; END $$;
        CREATE TRIGGER sealed BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION no(); CREATE TRIGGER idle BEFORE UPDATE ON child FOR EACH ROW EXECUTE FUNCTION no();
        ALTER TABLE child DISABLE TRIGGER idle; ALTER TABLE child ENABLE ROW LEVEL SECURITY; CREATE POLICY mine ON child AS RESTRICTIVE FOR UPDATE USING (id > 0) WITH CHECK (id > 1);
        CREATE UNLOGGED TABLE passing (id int); INSERT INTO passing VALUES (1); CREATE SEQUENCE loose START 7; SELECT nextval('loose');
        INSERT INTO other.parent VALUES (1, 'a', ARRAY[ROW(1, E'x\\ty')::pair], 3); INSERT INTO child (parent) VALUES (1), (1); REFRESH MATERIALIZED VIEW kept;
    """,
    )
    runs = Runs(dsn, store, keys)
    runs.take()
    runs.restored(target)

    shapes = []
    for one in (dsn, target):
        with psycopg.connect(one, autocommit=True) as connection:
            connection.execute("SET search_path = pg_catalog")
            from backups.engine.schema import schema_of

            shapes.append(
                {
                    phase: {name: sorted(found) for name, found in kinds.items()}
                    for phase, kinds in schema_of(connection).items()
                }
            )
    assert shapes[0] == shapes[1]
    with psycopg.connect(target, autocommit=True) as connection:
        assert connection.execute(
            "SELECT nextval('loose'), (SELECT n FROM kept), (SELECT count(*) FROM passing)"
        ).fetchone() == (8, 2, 0)
        assert connection.execute("INSERT INTO child (parent) VALUES (1) RETURNING id").fetchone() == (60,)
        with pytest.raises(psycopg.errors.RaiseException):
            connection.execute("DELETE FROM child")


def test_two_runs_at_once_are_two_runs(filled, store, keys, databases):  # noqa: F811
    """The engine lets them; whoever calls it holds a lock. Neither harms the other."""
    made = []
    faults = []

    def take():
        plan = Plan(Source(filled, {}), store, keys, b"i" * 32, secrets.token_hex(8))
        try:
            taken = backup.take(plan)
            taken.publish(store)
            made.append(taken.manifest.run)
        except BackupError as error:
            faults.append(error)

    threads = [threading.Thread(target=take) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert (len(made), faults) == (2, [])
    repository = Repository(store, keys)
    for name in repository.runs():
        target = databases()
        restore(repository, repository.manifest(name), target)
        assert now(target) == now(filled)
