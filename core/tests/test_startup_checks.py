"""`manage.py up` refuses to start with one line when a startup check fails or a port is busy."""

import json
import os
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings

from config import embedded_servers
from config.testing import VAR


def run_up(**environ):
    """Run `manage.py up` with these variables; return the exit code and the lines on stderr."""
    ports = {
        "PORT": str(embedded_servers.free_port()),
        "INTERNAL_PORT": str(embedded_servers.free_port()),
    }
    process = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=settings.BASE_DIR,
        env={**os.environ, **ports, **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return process.returncode, [line for line in process.stderr.splitlines() if line.strip()]


def database_url(user, password):
    """The URL of the test server's database for another role."""
    port = urlsplit(os.environ["DATABASE_URL"]).port
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/getyousite"


def superuser_url():
    state_file = embedded_servers.server_folder(VAR) / "postgres.json"
    return database_url("postgres", json.loads(state_file.read_text())["superuser_password"])


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (lambda: {"DATABASE_URL": superuser_url()}, "SUPERUSER"),
        (
            lambda: {"DATABASE_URL": f"postgresql://x:y@127.0.0.1:{embedded_servers.free_port()}/z"},
            "DATABASE_URL cannot be reached",
        ),
        (
            lambda: {"REDIS_URL": f"redis://127.0.0.1:{embedded_servers.free_port()}/0"},
            "REDIS_URL cannot be reached",
        ),
    ],
    ids=["superuser", "no database", "no redis"],
)
def test_up_refuses_a_failed_startup_check_in_one_line(environ, message):
    code, lines = run_up(**environ())

    assert (code, len(lines)) == (1, 1), lines
    assert message in lines[0]


def test_up_refuses_a_busy_port_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code, lines = run_up(PORT=str(listener.getsockname()[1]))

    assert (code, len(lines)) == (1, 1), lines
    assert "is busy" in lines[0]


def test_up_refuses_a_role_that_bypasses_row_level_security():
    with psycopg.connect(superuser_url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE bypasser LOGIN BYPASSRLS PASSWORD 'bypasser'")
        try:
            code, lines = run_up(DATABASE_URL=database_url("bypasser", "bypasser"))
        finally:
            connection.execute("DROP ROLE bypasser")

    assert (code, len(lines)) == (1, 1), lines
    assert "BYPASSRLS" in lines[0]
