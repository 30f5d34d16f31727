"""The two that are compared: our web process and the yardstick, over the same private PostgreSQL and Redis."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import redis
from psycopg import sql

from benchmarks.workload import EMAIL, PASSWORD, SITES, SUBDOMAIN, Ask
from config import embedded_servers
from core import processes

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
YARDSTICK = FOLDER / "yardstick"
WORKERS = 2
DATABASE = "benchmark"
LOGIN = {"email": EMAIL, "password": PASSWORD}


class BenchRefused(SystemExit):
    """The benchmark cannot run here; one plain line, exit code 1."""


@dataclass
class Contestant:
    """A running server. `site` is the id of a site of the one account it knows."""

    name: str
    port: int
    child: processes.ChildProcess
    client: httpx.Client = field(repr=False)
    site: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sign_in(self) -> str:
        """A fresh access token: one lives for 15 minutes on both sides."""
        answer = self.client.post("/api/v1/auth/login", json=LOGIN)
        if answer.status_code != 200:
            raise BenchRefused(f"{self.name}: signing in answered {answer.status_code}: {answer.text[:200]}")
        return str(answer.json()["access"])

    def request(self, ask: Ask) -> tuple[str, dict[str, str]]:
        """Path and headers of `ask`, filled in for this server."""
        headers = dict(ask.headers)
        if ask.signed_in:
            headers["Authorization"] = f"Bearer {self.sign_in()}"
        return ask.path.replace("{site}", self.site), headers

    def body(self, ask: Ask) -> dict[str, str]:
        """The body of `ask`, filled in for this server."""
        return {name: value.replace("{site}", self.site) for name, value in ask.body.items()}

    def check(self, ask: Ask) -> int:
        """Ask once and look at the answer; the length of its body. Raises BenchRefused."""
        path, headers = self.request(ask)
        sent = (self.body(ask) or LOGIN) if ask.method == "POST" else None
        answer = self.client.request(ask.method, path, headers=headers, json=sent)
        missing = {name for name, value in ask.answers_with.items() if answer.headers.get(name) != value}
        if answer.status_code not in {200, 201, 202} or ask.contains not in answer.text or missing:
            raise BenchRefused(
                f"{self.name}: {ask.method} {path} answered {answer.status_code}: {answer.text[:200]}"
            )
        return len(answer.content)


def check_programs() -> None:
    """Raise BenchRefused naming what is missing."""
    missing = [name for name in ("node", "npm", "wrk") if shutil.which(name) is None]
    if missing:
        raise BenchRefused(
            f"The benchmark needs {', '.join(missing)} on PATH (Node.js 20 or newer; wrk 4.1 or newer)."
        )


def install_yardstick() -> None:
    """`npm ci` when node_modules is not what package-lock.json says. Raises BenchRefused."""
    lock = YARDSTICK / "package-lock.json"
    kept = YARDSTICK / "node_modules" / ".installed"
    if kept.exists() and kept.read_text() == lock.read_text():
        return
    done = subprocess.run(["npm", "ci", "--loglevel=error"], cwd=YARDSTICK, check=False)
    if done.returncode:
        raise BenchRefused("npm ci failed in benchmarks/yardstick; its lines above say why.")
    kept.write_text(lock.read_text())


@contextmanager
def stores(var: Path) -> Iterator[dict[str, str]]:
    """A PostgreSQL and a Redis of our own, durable as in production, with a database made anew each time."""
    with embedded_servers.running_servers(var) as urls:
        database = urls["DATABASE_URL"]
        cache = urls["REDIS_URL"]
        with psycopg.connect(_with_path(database, "postgres"), autocommit=True) as connection:
            name = sql.Identifier(DATABASE)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        with redis.Redis.from_url(cache) as client:
            client.flushall()
        yield {"DATABASE_URL": _with_path(database, DATABASE), "REDIS_URL": cache}


@contextmanager
def ours(urls: dict[str, str], var: Path) -> Iterator[Contestant]:
    """`manage.py serve` with two workers, migrated, with one owner of twenty sites, the bakery published."""
    port = str(embedded_servers.free_port())
    internal = str(embedded_servers.free_port())
    environ = {
        **urls,
        "ENVIRONMENT": "development",
        "VAR_DIR": str(var / "web"),
        "HOST": "127.0.0.1",
        "PORT": port,
        "SITES_PORT": port,
        "INTERNAL_PORT": internal,
        "CACHE_REDIS_URL": "",  # the default, whatever the caller's environment says
        "WEB_WORKERS": str(WORKERS),
        "RATE_LIMIT": "10000000",
        "LOG_LEVEL": "WARNING",
    }
    migrate = processes.start_process(
        "web", [sys.executable, str(ROOT / "manage.py"), "migrate", "--verbosity", "0"], environ=environ
    )
    with _running(migrate):
        if migrate.process.wait():
            raise BenchRefused("Our migrations failed; the lines above say why.")
    child = processes.start_process(
        "web", [sys.executable, str(ROOT / "manage.py"), "serve"], environ=environ
    )
    with _running(child), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        contestant = Contestant("ours", int(port), child, client)
        _wait(contestant, "/health/ready")
        contestant.site = _fill(client)
        yield contestant


@contextmanager
def theirs(urls: dict[str, str]) -> Iterator[Contestant]:
    """The yardstick with two workers, in a schema and a Redis database of its own. It fills itself."""
    port = str(embedded_servers.free_port())
    environ = {
        "NODE_ENV": "production",
        "PORT": port,
        "WORKERS": str(WORKERS),
        "PG_URL": urls["DATABASE_URL"],
        "REDIS_URL": _with_path(urls["REDIS_URL"], "2"),
        "EMAIL": EMAIL,
        "PASSWORD": PASSWORD,
    }
    child = processes.start_process("node", ["node", str(YARDSTICK / "server.mjs")], environ=environ)
    with _running(child), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        contestant = Contestant("theirs", int(port), child, client)
        _wait(contestant, "/health")
        bearer = {"Authorization": f"Bearer {contestant.sign_in()}"}
        contestant.site = client.get("/api/v1/sites", headers=bearer).json()["results"][0]["id"]
        yield contestant


@contextmanager
def _running(child: processes.ChildProcess) -> Iterator[None]:
    try:
        yield
    finally:
        processes.stop_processes([child], seconds=40)


def _wait(contestant: Contestant, path: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if contestant.child.process.poll() is not None:
            break
        try:
            if contestant.client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise BenchRefused(f"{contestant.name} did not start; the lines above say why.")


def _fill(client: httpx.Client) -> str:
    """Sign up over the API and make the sites; the id of the bakery."""
    access = _made(client.post("/api/v1/auth/register", json=LOGIN))["access"]
    bearer = {"Authorization": f"Bearer {access}"}
    for number in range(1, SITES):
        site = {"name": f"Site {number}", "subdomain": f"bench-{number}"}
        _made(client.post("/api/v1/sites", json=site, headers=bearer))
    bakery = {"name": "Marlow & Rye", "subdomain": SUBDOMAIN, "template": "bakery"}
    made = str(_made(client.post("/api/v1/sites", json=bakery, headers=bearer))["id"])
    _made(client.post(f"/api/v1/sites/{made}/publish", json={}, headers=bearer))
    return made


def _made(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != 201:
        raise BenchRefused(
            f"ours: {answer.request.url.path} answered {answer.status_code}: {answer.text[:200]}"
        )
    body: dict[str, Any] = answer.json()
    return body


def _with_path(url: str, path: str) -> str:
    return urlsplit(url)._replace(path=f"/{path}").geturl()
