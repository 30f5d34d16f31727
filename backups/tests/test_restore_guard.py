"""No command but `backup_restore` runs on a database whose restore did not finish."""

import os
import subprocess
import sys
import time

import pytest
from django.core.management import get_commands

from backups.tests.helpers import database_url, run_sql
from config import restore_guard
from config.env import BASE_DIR


@pytest.fixture
def marked_url(create_database):
    """The URL of a database with the marker of an unfinished restore."""
    dsn = create_database()
    run_sql(dsn, "CREATE TABLE backup_restore (run text)")
    return database_url(dsn)


def test_refuse_unfinished_restore_stops_every_command_but_the_restore(marked_url, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", marked_url)
    refused = []
    for command in get_commands():
        try:
            restore_guard.refuse_unfinished_restore(["manage.py", command])
        except SystemExit:
            refused.append(command)

    assert set(get_commands()) - set(refused) == {"backup_restore"}


def test_manage_refuses_in_one_line(marked_url):
    completed = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        cwd=BASE_DIR,
        env={**os.environ, "DATABASE_URL": marked_url},
        capture_output=True,
        text=True,
    )

    assert (completed.returncode, completed.stderr.strip()) == (1, restore_guard.REFUSAL)


@pytest.mark.parametrize(("argument", "output"), [("--version", "5.2"), ("help", "backup_restore")])
def test_manage_helps_also_on_such_a_database(marked_url, argument, output):
    completed = subprocess.run(
        [sys.executable, "manage.py", argument],
        cwd=BASE_DIR,
        env={**os.environ, "DATABASE_URL": marked_url},
        capture_output=True,
        text=True,
    )

    assert (completed.returncode, output in completed.stdout) == (0, True)


def test_refuse_unfinished_restore_leaves_a_database_that_does_not_answer_to_the_command(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://a:b@127.0.0.1:9/c")
    started = time.monotonic()

    restore_guard.refuse_unfinished_restore(["manage.py", "migrate"])

    assert time.monotonic() - started < 2 * restore_guard.CONNECT_TIMEOUT_SECONDS
