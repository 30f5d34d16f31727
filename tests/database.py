"""The test database: rolled back after each test, or emptied after a test that carries
`@pytest.mark.commits`.

A test without the marker runs inside one transaction. Callbacks of `transaction.on_commit` still run when the
code under test leaves its outermost `atomic` block, as they do in production. A test needs the marker when
another connection must see its rows (threads, child processes, a superuser), when it asserts that something
was committed, or when it counts queries.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection, connections
from django.db.transaction import Atomic
from django.test import TransactionTestCase
from psycopg import sql

from config import embedded_servers
from config.testing import VAR

LOCK_TIMEOUT_SECONDS = 20
log = logging.getLogger(__name__)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "commits: commits to the database; the tables it wrote to are emptied afterwards"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Turn `commits` into pytest-django's transactional mode, and refuse that mode without the marker."""
    unmarked = []
    for item in items:
        if item.get_closest_marker("commits"):
            item.add_marker(pytest.mark.django_db(transaction=True), append=False)
        elif wants_transactions(item):
            unmarked.append(item.nodeid)
    if unmarked:
        raise pytest.UsageError("mark these tests with @pytest.mark.commits:\n" + "\n".join(unmarked))


def wants_transactions(item: pytest.Item) -> bool:
    """Whether a test asks pytest-django for real transactions."""
    marker = item.get_closest_marker("django_db")
    asked_by_marker = bool(marker and marker.kwargs.get("transaction"))
    return asked_by_marker or "transactional_db" in getattr(item, "fixturenames", ())


@dataclass
class TableReset:
    """Puts the tables of the test database back to what the migrations left, as a superuser for whom triggers
    are off.
    """

    connection: "psycopg.Connection[Any]"
    initial_rows: dict[str, bytes] = field(default_factory=dict)  # table: its rows in COPY format
    digests: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.connection.execute("SET session_replication_role = replica")
        # A thread that waits for a row of a test that never commits gets an error instead of waiting forever.
        database = sql.Identifier(self.connection.info.dbname)
        timeout = sql.Literal(f"{LOCK_TIMEOUT_SECONDS}s")
        self.connection.execute(sql.SQL("ALTER DATABASE {} SET lock_timeout = {}").format(database, timeout))
        self.connection.execute(sql.SQL("SET lock_timeout = {}").format(timeout))
        for table in self._tables_with_rows(self._tables()):
            self.digests[table] = self._digest(table)
            with self.connection.cursor().copy(
                sql.SQL("COPY {} TO STDOUT").format(sql.Identifier(table))
            ) as copy:
                self.initial_rows[table] = b"".join(copy)

    def changed_tables(self) -> list[str]:
        """The tables whose committed rows are not those that the migrations left."""
        changed = self._tables_with_rows([table for table in self._tables() if table not in self.digests])
        return changed + [table for table, digest in self.digests.items() if self._digest(table) != digest]

    def reset(self) -> list[str]:
        """Empty every changed table, and give those that the migrations filled their first rows back.

        Returns their names.
        """
        changed = self.changed_tables()
        with self.connection.transaction():
            for table in changed:
                self.connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
                if rows := self.initial_rows.get(table):
                    statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(table))
                    with self.connection.cursor().copy(statement) as copy:
                        copy.write(rows)
        return changed

    def _tables(self) -> list[str]:
        """Tables of the schema `public`; a partitioned table stands for its partitions."""
        query = """
            SELECT relname FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition ORDER BY relname"""
        return [row[0] for row in self.connection.execute(query)]

    def _tables_with_rows(self, tables: list[str]) -> list[str]:
        query = sql.SQL(" UNION ALL ").join(
            sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(
                sql.Literal(table), sql.Identifier(table)
            )
            for table in tables
        )
        return [row[0] for row in self.connection.execute(query)]

    def _digest(self, table: str) -> str:
        query = sql.SQL("SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {} t").format(
            sql.Identifier(table)
        )
        (digest,) = self.connection.execute(query).fetchone() or ("",)
        return str(digest)


def superuser_dsn(database: str) -> str:
    """The connection string of PostgreSQL's superuser for `database` on the private server of the tests."""
    passwords = json.loads((embedded_servers.server_folder(VAR) / "postgres.json").read_text())
    port = urlsplit(os.environ["DATABASE_URL"]).port
    return psycopg.conninfo.make_conninfo(
        host="127.0.0.1",
        port=port,
        user="postgres",
        password=passwords["superuser_password"],
        dbname=database,
    )


class EmulatedCommits:
    """Inside the transaction of a test, treats the outermost `atomic` block of the code under test as a real
    commit.

    Its `on_commit` callbacks run when it ends, it is always a savepoint, so that an error inside it does not
    end the transaction of the test, and a callback registered outside of any block runs at once.
    """

    def __init__(self) -> None:
        self.database = connections["default"]
        self.depth = len(self.database.atomic_blocks)
        self.enter = Atomic.__enter__
        self.leave = Atomic.__exit__
        self.register = self.database.on_commit
        self.get_autocommit = self.database.get_autocommit
        self.in_transition = False  # while a block is entered or left

    @contextmanager
    def active(self) -> Iterator[None]:
        def enter(block: Atomic) -> None:
            self.enter_block(block)

        def leave(block: Atomic, *exception: Any) -> None:
            self.leave_block(block, *exception)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Atomic, "__enter__", enter)
            patch.setattr(Atomic, "__exit__", leave)
            patch.setattr(self.database, "on_commit", self.register_callback)
            patch.setattr(self.database, "get_autocommit", self.report_autocommit)
            for method in ("close", "close_if_unusable_or_obsolete"):  # would end the transaction of the test
                patch.setattr(self.database, method, lambda: None)
            yield

    def is_ours(self, block: Atomic) -> bool:
        """Whether a block belongs to the connection of the test, not to that of a thread."""
        return connections[block.using or "default"] is self.database

    def report_autocommit(self) -> bool:
        """True outside of every block, so that `select_for_update` there is the error that it is in
        production.
        """
        outside = len(self.database.atomic_blocks) == self.depth and not self.in_transition
        return outside or self.get_autocommit()

    def enter_block(self, block: Atomic) -> None:
        if not self.is_ours(block):
            self.enter(block)
            return
        if len(self.database.atomic_blocks) == self.depth:
            block.savepoint = True
        self.in_transition = True
        try:
            self.enter(block)
        finally:
            self.in_transition = False

    def leave_block(self, block: Atomic, *exception: Any) -> None:
        if not self.is_ours(block):
            self.leave(block, *exception)
            return
        self.in_transition = True
        try:
            self.leave(block, *exception)
        finally:
            self.in_transition = False
        self.run_callbacks()

    def register_callback(self, callback: Callable[[], Any], robust: bool = False) -> None:
        self.register(callback, robust)
        self.run_callbacks()

    def run_callbacks(self) -> None:
        if len(self.database.atomic_blocks) != self.depth:
            return
        pending = self.database.run_on_commit
        self.database.run_on_commit = []
        for _, callback, robust in pending:
            try:
                callback()
            except Exception:
                if not robust:
                    raise
                log.exception("an on_commit callback failed")


_tables: list[TableReset] = []  # of this test process, once the first test has used the database


@pytest.fixture(scope="session")
def table_reset(django_db_setup: None, django_db_blocker: Any) -> Iterator[TableReset]:
    """One superuser connection to this worker's test database, open for the whole run."""
    with django_db_blocker.unblock():
        database = connection.settings_dict["NAME"]
    with (
        psycopg.connect(superuser_dsn(database), autocommit=True) as superuser,
        pytest.MonkeyPatch.context() as patch,
    ):
        tables = TableReset(superuser)
        _tables.append(tables)
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda test_case: tables.reset())
        yield tables
        _tables.clear()


def uses_database(item: Any) -> bool:
    return item.get_closest_marker("django_db") is not None or "db" in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Fail an unmarked test that committed rows; otherwise a later test would fail."""
    try:
        yield
    finally:
        fail_unmarked_commits(item)


def fail_unmarked_commits(item: pytest.Item) -> None:
    """Reset what a test without the marker committed, and name the tables."""
    if _tables and not item.get_closest_marker("commits") and (written := _tables[0].reset()):
        pytest.fail(
            f"this test committed to {', '.join(written)}: mark it with @pytest.mark.commits", pytrace=False
        )


@pytest.fixture(autouse=True)
def database_isolation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Prepare the reset after a test that commits; run commit callbacks in a test that is rolled back."""
    if not uses_database(request.node):
        yield
        return
    commits = request.node.get_closest_marker("commits") is not None
    request.getfixturevalue("table_reset")  # reads the first rows before any test can change them
    request.getfixturevalue("transactional_db" if commits else "db")
    if commits:
        yield
        return
    with EmulatedCommits().active():
        yield
