"""What must not serve says so in one line and stops."""

import json
import os
import subprocess
import sys
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings

from config import embedded_servers


def serve(**environ):
    wanted = {
        "PORT": str(embedded_servers.free_port()),
        "INTERNAL_PORT": str(embedded_servers.free_port()),
        **environ,
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=settings.BASE_DIR,
        env={**os.environ, **wanted},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, [line for line in done.stderr.splitlines() if line.strip()]


def superuser_url():
    """The same server as somebody whom row-level security does not bind."""
    home = embedded_servers.server_folder(settings.VAR_DIR)
    facts = json.loads((home / "postgres.json").read_text())
    return f"postgresql://postgres:{facts['superuser_password']}@127.0.0.1:{urlsplit(os.environ['DATABASE_URL']).port}/getyousite"


@pytest.mark.parametrize(
    ("environ", "named"),
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
def test_up_refuses_in_one_line(environ, named):
    code, lines = serve(**environ())

    assert (code, len(lines)) == (1, 1), lines
    assert named in lines[0]


def test_up_refuses_a_busy_port_in_one_line():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as busy:
        code, lines = serve(PORT=str(busy.getsockname()[1]))

    assert (code, len(lines)) == (1, 1), lines
    assert "is busy" in lines[0]


def test_up_refuses_a_role_that_bypasses_the_fence():
    with psycopg.connect(superuser_url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE bypasser LOGIN BYPASSRLS PASSWORD 'bypasser'")
        try:
            port = urlsplit(os.environ["DATABASE_URL"]).port
            code, lines = serve(DATABASE_URL=f"postgresql://bypasser:bypasser@127.0.0.1:{port}/getyousite")
        finally:
            connection.execute("DROP ROLE bypasser")

    assert (code, len(lines)) == (1, 1), lines
    assert "BYPASSRLS" in lines[0]
