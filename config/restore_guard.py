"""Refuses to run a command on a database whose restore did not finish.

It needs neither Django's settings nor its database connections, so that it can run before every command.
"""

import os

import psycopg

CONNECT_TIMEOUT_SECONDS = 5
ALLOWED_COMMANDS = {"backup_restore", "help", "version"}
REFUSAL = (
    "This database is a restore that did not finish. Continue it (backup_restore --resume), or use another "
    "database."
)


def refuse_unfinished_restore(arguments: list[str]) -> None:
    """Raise SystemExit with one line when DATABASE_URL is marked by a restore that did not finish.

    `arguments` are those of the process: its name, the command, and what follows. A database that does not
    answer is left to the command.
    """
    command = arguments[1] if len(arguments) > 1 else "help"
    url = os.environ.get("DATABASE_URL")
    if command in ALLOWED_COMMANDS or command.startswith("-") or not url:
        return
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_SECONDS, autocommit=True) as connection:
            row = connection.execute("SELECT to_regclass('public.backup_restore') IS NOT NULL").fetchone()
    except psycopg.Error:
        return
    if row and row[0]:
        raise SystemExit(REFUSAL)
