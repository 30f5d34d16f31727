"""The real thing, for tests from outside: PostgreSQL, Redis and web processes of their own, over HTTP on
loopback.
"""

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
from config.testing import VAR, WORKER

ROOT = Path(__file__).resolve().parent.parent
ORIGIN = "http://localhost:3000"
PASSWORD = "correct horse battery staple"
FROM_PAGE = {"X-Requested-With": "fetch", "Origin": ORIGIN, "Content-Type": "application/json"}


def eventually(act: Callable[[], Any], *, seconds: float) -> Any:
    """The first true result of `act`, asked again until then. Fails the test when time is up."""
    deadline = time.monotonic() + seconds
    while True:
        result = act()
        if result or time.monotonic() > deadline:
            assert result, f"not within {seconds} s"
            return result
        time.sleep(0.05)


@dataclass
class Web:
    """One web process (`manage.py serve`) on its own port."""

    port: int
    internal_port: int
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str, host: str = "localhost", **headers: str) -> httpx.Response:
        """One request on a connection of its own."""
        return httpx.get(f"{self.url}{path}", headers={"Host": host, **headers}, timeout=10)


@dataclass
class Person:
    """Somebody with a browser: signs up over HTTP, keeps cookies."""

    web: Web
    email: str = field(default_factory=lambda: f"{secrets.token_hex(6)}@example.com")
    access: str = ""
    id: str = ""

    def __post_init__(self) -> None:
        self.browser = httpx.Client(base_url=self.web.url, headers={"Host": "localhost"}, timeout=30)
        answer = self.browser.post("/api/v1/auth/register", json={"email": self.email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        self.access = answer.json()["access"]
        self.id = answer.json()["user"]["id"]

    def sign_in(self) -> None:
        """Once more, by password."""
        answer = self.browser.post("/api/v1/auth/login", json={"email": self.email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.access = answer.json()["access"]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.access}", "Content-Type": "application/json", **headers}
        content = b"" if body is None else json.dumps(body).encode()
        return self.browser.request(method, f"/api/v1/{path}", content=content, headers=sent)

    def publish(self, *, template: str = "bakery", subdomain: str | None = None) -> tuple[str, str]:
        """A published site: its id and its host."""
        subdomain = subdomain or f"s{secrets.token_hex(5)}"
        made = self.call("POST", "sites", {"name": "Outside", "subdomain": subdomain, "template": template})
        assert made.status_code == 201, made.text
        assert self.call("POST", f"sites/{made.json()['id']}/publish").status_code == 201
        return made.json()["id"], f"{subdomain}.localhost"


class Stack:
    """Servers that a test may stop, freeze and start again; two web processes, the first with two workers."""

    def __init__(self, name: str) -> None:
        """Start everything below a folder called `name`, one for each test worker."""
        var = VAR / f"{name}-{WORKER}"
        shutil.rmtree(var, ignore_errors=True)
        self.home = embedded_servers.server_folder(var)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        self.postgres, self.redis = (
            embedded_servers.PostgresServer(self.home),
            embedded_servers.RedisServer(self.home),
        )
        self.database_url = self.postgres.start(print, fast=True)
        self.redis_url = self.redis.start(print)
        self.environ = {
            **{
                name: value
                for name, value in os.environ.items()
                if name not in {"CACHE_REDIS_URL", "PYTEST_XDIST_WORKER"}
            },
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "SECRET_KEY": secrets.token_urlsafe(48),
            "JWT_KEYS": f"test:{secrets.token_urlsafe(48)}",
            "LOG_LEVEL": "WARNING",
            "RATE_LIMIT": "1000000",
        }
        self.manage("migrate", "--verbosity", "0")
        self.webs = [self.launch_web(workers=2), self.launch_web(workers=1)]
        for web in self.webs:
            self.wait_until_ready(web)

    def manage(self, *arguments: str, **environ: str) -> str:
        """Run a command to its end; its output."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env={**self.environ, **environ},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start_web(self, *, workers: int, **environ: str) -> Web:
        """A web process with these settings, ready to answer."""
        web = self.launch_web(workers=workers, **environ)
        self.wait_until_ready(web)
        return web

    def launch_web(self, *, workers: int, **environ: str) -> Web:
        port = embedded_servers.free_port()
        internal = embedded_servers.free_port()
        var = self.home / f"web-{port}"
        var.mkdir()
        log = var / "log"
        mine = {
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
                env={**self.environ, **mine, **environ},
                stdout=output,
                stderr=output,
            )
        return Web(port, internal, process, log)

    def wait_until_ready(self, web: Web) -> None:
        eventually(lambda: self.ready(web), seconds=60)

    @staticmethod
    def ready(web: Web) -> bool:
        try:
            return web.get("/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    def stop_redis(self) -> None:
        self.redis.stop()

    def start_redis(self) -> None:
        """The same server again, with the data it had, where it was."""
        facts = urlsplit(self.redis_url)
        configuration = self.home / "redis" / "redis.conf"
        process = subprocess.Popen(
            [embedded_servers._redis_program(), str(configuration)], stdout=subprocess.DEVNULL
        )
        embedded_servers._started_processes.append(process)
        self.redis.state_file.write_text(json.dumps({"url": self.redis_url, "pid": process.pid}))
        eventually(lambda: self.redis._answers(self.redis_url), seconds=10)
        assert facts.port

    def freeze_redis(self, frozen: bool) -> None:
        os.kill(
            json.loads(self.redis.state_file.read_text())["pid"], signal.SIGSTOP if frozen else signal.SIGCONT
        )

    def stop_postgres(self) -> None:
        self.postgres.stop()

    def start_postgres(self) -> None:
        assert (
            self.postgres.start(print, fast=True, port=urlsplit(self.database_url).port) == self.database_url
        )

    def close(self) -> None:
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

    A file that stops or freezes a server starts one of its own.
    """
    running = Stack("stack")
    yield running
    running.close()


@pytest.fixture
def person(stack: Stack) -> Iterator[Person]:
    made = Person(stack.webs[0])
    yield made
    made.browser.close()


@pytest.fixture
def somebody_else(stack: Stack) -> Iterator[Person]:
    made = Person(stack.webs[1])
    yield made
    made.browser.close()
