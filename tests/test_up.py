"""`manage.py up` as a person meets it: one command, Ctrl-C, and the same again."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from config import embedded_servers
from config.testing import VAR, WORKER
from tests.stack import ROOT, eventually

pytestmark = pytest.mark.stack
HOME = VAR / f"up-{WORKER}"


@pytest.fixture(scope="module")
def environ():
    """A bare installation: nothing named but where it lives and its ports."""
    shutil.rmtree(HOME, ignore_errors=True)
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    ports = {"PORT": str(embedded_servers.free_port()), "INTERNAL_PORT": str(embedded_servers.free_port())}
    yield {**kept, **ports, "VAR_DIR": str(HOME)}
    for running in Running.started:
        if running.process.poll() is None:
            running.interrupt()
    shutil.rmtree(embedded_servers.server_folder(HOME), ignore_errors=True)


def ours(environ):
    """Every process that carries this installation's VAR_DIR in its environment or on its command line."""
    mark = f"VAR_DIR={environ['VAR_DIR']}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            known = folder.name.isdecimal() and int(folder.name) != os.getpid()
            if known and (
                mark in (folder / "environ").read_bytes()
                or environ["VAR_DIR"].encode() in (folder / "cmdline").read_bytes()
            ):
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


class Running:
    """`up` in a process group of its own, as a terminal gives it; its output line by line in a file."""

    started = []  # all of them, so that a failed test leaves none behind

    def __init__(self, environ):
        self.started.append(self)
        HOME.mkdir(parents=True, exist_ok=True)
        self.output = HOME / "output"
        started = time.monotonic()
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=environ,
                stdout=out,
                stderr=out,
                process_group=0,
            )
        eventually(
            lambda: self.process.poll() is not None or "Getyousite is running" in self.output.read_text(),
            seconds=90,
        )
        assert self.process.poll() is None, self.output.read_text()
        self.seconds = time.monotonic() - started

    def kill(self):
        """End the command itself without a chance to clean up."""
        self.process.kill()
        self.process.wait(10)

    def interrupt(self):
        """Ctrl-C: the whole group gets SIGINT. The seconds it took to end."""
        started = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - started


def test_up_starts_from_nothing_survives_a_killed_worker_stops_and_keeps_its_data_even_when_killed(environ):
    first = Running(environ)
    base = f"http://127.0.0.1:{environ['PORT']}"
    demo = json.loads((HOME / "demo.json").read_text())
    assert (HOME / "demo.json").stat().st_mode & 0o777 == 0o600
    assert sorted(demo) == ["admin", "base_url", "owner", "site_url"]
    assert demo["site_url"] == f"http://bakery.localhost:{environ['PORT']}/"
    text = first.output.read_text()
    assert all(
        line in text
        for line in (
            "creating a private PostgreSQL",
            "applying migrations",
            demo["site_url"],
            "/api/docs",
            "/admin/",
            "demo.json",
        )
    )
    assert demo["admin"]["password"] not in text

    page = httpx.get(f"{base}/", headers={"Host": "bakery.localhost"})
    assert (page.status_code, "Marlow &amp; Rye" in page.text) == (200, True)
    assert [
        httpx.get(base + path, headers={"Host": "localhost"}).status_code
        for path in ("/api/docs", "/api/schema", "/admin/login/", "/health/ready")
    ] == [200] * 4
    signed_in = httpx.post(
        f"{base}/api/v1/auth/login", json=demo["owner"], headers={"Host": "localhost"}, timeout=20
    )
    assert signed_in.status_code == 200
    bearer = {"Authorization": f"Bearer {signed_in.json()['access']}", "Host": "localhost"}
    made = httpx.post(f"{base}/api/v1/sites", json={"name": "Kept", "subdomain": "kept"}, headers=bearer)
    assert made.status_code == 201
    assert httpx.get(f"http://127.0.0.1:{environ['INTERNAL_PORT']}/metrics").status_code == 200
    eventually(
        lambda: (
            "web" in first.output.read_text()
            and re.search(r"^web +│ ", first.output.read_text(), re.MULTILINE)
        ),
        seconds=5,
    )

    kill_a_web_worker(environ)
    eventually(lambda: all(shows_the_demo_site(base) for _ in range(20)), seconds=20)  # it is started again

    assert first.interrupt() < 10
    assert first.process.returncode == 0
    assert "Traceback" not in first.output.read_text()
    eventually(lambda: ours(environ) == [], seconds=2)

    second = Running(environ)
    assert second.seconds < 60  # 10 s on a machine of its own; nothing is installed or filled again
    assert json.loads((HOME / "demo.json").read_text()) == demo
    assert httpx.get(f"{base}/api/v1/sites/{made.json()['id']}", headers=bearer).json()["name"] == "Kept"
    eventually(
        lambda: list((HOME / "backups" / "runs").glob("*.refs")), seconds=60
    )  # nobody asked for a backup
    second.kill()
    eventually(lambda: only_stores(environ), seconds=40)

    third = Running(environ)  # finds the stores that stayed, and stops them in the end
    assert third.interrupt() < 10
    eventually(lambda: ours(environ) == [], seconds=2)


def only_stores(environ):
    """Whether nothing runs but PostgreSQL and Redis."""
    return all("postgres" in line or "redis-server" in line for line in ours(environ))


def kill_a_web_worker(environ):
    """SIGKILL one of the workers that answer on the public port."""
    listed = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in listed.splitlines()]
    public = next(
        pid
        for pid, _, args in rows
        if "config.wsgi:application" in args and f"--port {environ['PORT']}" in args
    )
    victim = next(pid for pid, parent, args in rows if parent == public and "resource_tracker" not in args)
    os.kill(int(victim), signal.SIGKILL)


def shows_the_demo_site(base):
    try:
        return httpx.get(f"{base}/", headers={"Host": "bakery.localhost"}).status_code == 200
    except httpx.HTTPError:
        return False
