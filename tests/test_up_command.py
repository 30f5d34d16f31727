"""`manage.py up`: it starts a whole development installation, and Ctrl-C stops it without losing data."""

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
from config.testing import WORKER_FOLDER
from tests.stack import ROOT, wait_until

pytestmark = pytest.mark.stack
VAR_DIR = WORKER_FOLDER / "up"


@pytest.fixture(scope="module")
def environ():
    """The environment of a new installation: only its folder and its ports are set."""
    shutil.rmtree(VAR_DIR, ignore_errors=True)
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    ports = {"PORT": str(embedded_servers.free_port()), "INTERNAL_PORT": str(embedded_servers.free_port())}
    yield {**inherited, **ports, "VAR_DIR": str(VAR_DIR)}
    for up_process in UpProcess.started:
        if up_process.process.poll() is None:
            up_process.interrupt()
    shutil.rmtree(embedded_servers.server_folder(VAR_DIR), ignore_errors=True)


def own_processes(environ):
    """Command lines of the processes of this installation.

    They have its VAR_DIR in their environment, or run in the folder of its servers. Redis overwrites its
    environment with its title.
    """
    variable = f"VAR_DIR={environ['VAR_DIR']}".encode()
    servers = embedded_servers.server_folder(VAR_DIR)
    command_lines = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        try:
            command_line = (folder / "cmdline").read_bytes()
            working_folder = (folder / "cwd").readlink()
            if variable in (folder / "environ").read_bytes() or working_folder.is_relative_to(servers):
                command_lines.append(command_line.replace(b"\0", b" ").decode())
        except OSError:  # it has ended meanwhile, or belongs to another user
            continue
    return command_lines


class UpProcess:
    """`manage.py up` in a process group of its own, as in a terminal, with its output in a file.

    `seconds` is how long it took until it said that it is running.
    """

    started = []  # every object, so that the fixture can stop the processes of a failed test

    def __init__(self, environ):
        self.started.append(self)
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        self.output = VAR_DIR / "output"
        started_at = time.monotonic()
        with self.output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up"],
                cwd=ROOT,
                env=environ,
                stdout=out,
                stderr=out,
                process_group=0,
            )
        wait_until(
            lambda: self.process.poll() is not None or "Getyousite is running" in self.output.read_text(),
            seconds=90,
        )
        assert self.process.poll() is None, self.output.read_text()
        self.seconds = time.monotonic() - started_at

    def kill(self):
        """Kill the command itself, so that it cannot clean up."""
        self.process.kill()
        self.process.wait(10)

    def interrupt(self):
        """Send SIGINT to the whole group, as Ctrl-C does. Returns the seconds until it ended."""
        started_at = time.monotonic()
        os.killpg(self.process.pid, signal.SIGINT)
        self.process.wait(30)
        return time.monotonic() - started_at


def test_up_starts_restarts_workers_stops_on_ctrl_c_and_keeps_its_data(environ):
    first = UpProcess(environ)
    base = f"http://127.0.0.1:{environ['PORT']}"
    demo = json.loads((VAR_DIR / "demo.json").read_text())
    assert (VAR_DIR / "demo.json").stat().st_mode & 0o777 == 0o600
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
    created = httpx.post(f"{base}/api/v1/sites", json={"name": "Kept", "subdomain": "kept"}, headers=bearer)
    assert created.status_code == 201
    site_path = f"/api/v1/sites/{created.json()['id']}"
    assert httpx.get(f"http://127.0.0.1:{environ['INTERNAL_PORT']}/metrics").status_code == 200
    wait_until(lambda: re.search(r"^web +│ ", first.output.read_text(), re.MULTILINE), seconds=5)
    wait_until(
        lambda: list((VAR_DIR / "backups" / "runs").glob("*.refs")), seconds=60
    )  # the scheduled backup
    first.kill()
    wait_until(lambda: only_stores_run(environ), seconds=40)
    assert "Traceback" not in first.output.read_text()

    second = UpProcess(environ)  # uses the stores that the killed command left
    assert second.seconds < 60  # about 10 s on an idle machine, because nothing is installed or filled again
    assert json.loads((VAR_DIR / "demo.json").read_text()) == demo
    assert httpx.get(base + site_path, headers=bearer).json()["name"] == "Kept"
    kill_a_web_worker(environ)
    wait_until(lambda: all(shows_the_demo_site(base) for _ in range(20)), seconds=20)  # it is started again
    assert second.interrupt() < 10
    assert second.process.returncode == 0
    assert "Traceback" not in second.output.read_text()
    wait_until(lambda: own_processes(environ) == [], seconds=2)

    # Another command starts the stopped stores again, and stops them.
    assert name_of_site(environ, site_path, bearer) == "Kept"
    wait_until(lambda: own_processes(environ) == [], seconds=2)


def name_of_site(environ, path, headers):
    """The name of the site that Django's test client gets at `path`, in a process of its own."""
    code = (
        f"from django.test import Client; print(Client().get({path!r}, headers={headers!r}).json()['name'])"
    )
    completed = subprocess.run(
        [sys.executable, "manage.py", "shell", "-v", "0", "-c", code],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout.splitlines()[-1]  # after the lines of the log


def only_stores_run(environ):
    """Whether PostgreSQL and Redis are the only processes of the installation."""
    return all("postgres" in line or "redis-server" in line for line in own_processes(environ))


def kill_a_web_worker(environ):
    """Send SIGKILL to one of the workers of the public listener."""
    output = subprocess.run(["ps", "-wweo", "pid=,ppid=,args="], capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in output.splitlines()]
    listener_pid = next(
        pid
        for pid, _, args in rows
        if "config.wsgi:application" in args and f"--port {environ['PORT']}" in args
    )
    worker_pid = next(
        pid for pid, parent, args in rows if parent == listener_pid and "resource_tracker" not in args
    )
    os.kill(int(worker_pid), signal.SIGKILL)


def shows_the_demo_site(base):
    try:
        return httpx.get(f"{base}/", headers={"Host": "bakery.localhost"}).status_code == 200
    except httpx.HTTPError:
        return False
