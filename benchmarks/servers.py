"""The two servers that are compared: our web process and the yardstick, on the same private stores."""

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

from benchmarks.workload import EMAIL, PASSWORD, SITES_OF_OWNER, SUBDOMAIN, RequestSpec
from config import embedded_servers
from core import processes

BENCHMARKS_FOLDER = Path(__file__).resolve().parent
ROOT = BENCHMARKS_FOLDER.parent
YARDSTICK_FOLDER = BENCHMARKS_FOLDER / "yardstick"
WORKERS = 2
DATABASE = "benchmark"
CREDENTIALS = {"email": EMAIL, "password": PASSWORD}
START_TIMEOUT_SECONDS = 60


class BenchmarkError(SystemExit):
    """The benchmark cannot run here. Prints one line and exits with code 1."""


@dataclass
class BenchmarkServer:
    """A running server. `site` is the id of a site of its only account."""

    name: str
    port: int
    child: processes.ChildProcess
    client: httpx.Client = field(repr=False)
    site: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sign_in(self) -> str:
        """Return a new access token. It is valid for 15 minutes on both servers."""
        response = self.client.post("/api/v1/auth/login", json=CREDENTIALS)
        if response.status_code != 200:
            raise BenchmarkError(
                f"{self.name}: signing in answered {response.status_code}: {response.text[:200]}"
            )
        return str(response.json()["access"])

    def path_and_headers(self, spec: RequestSpec) -> tuple[str, dict[str, str]]:
        """Path and headers of `spec` with the site and the access token of this server."""
        headers = dict(spec.headers)
        if spec.signed_in:
            headers["Authorization"] = f"Bearer {self.sign_in()}"
        return spec.path.replace("{site}", self.site), headers

    def body(self, spec: RequestSpec) -> dict[str, str]:
        """The body of `spec` with the site of this server."""
        return {name: value.replace("{site}", self.site) for name, value in spec.body.items()}

    def verify_response(self, spec: RequestSpec) -> int:
        """Send the request once, and return the length of the response body in bytes.

        Raises BenchmarkError when status, content or headers are not those that `spec` describes.
        """
        path, headers = self.path_and_headers(spec)
        body = (self.body(spec) or CREDENTIALS) if spec.method == "POST" else None
        response = self.client.request(spec.method, path, headers=headers, json=body)
        has_headers = all(response.headers.get(name) == value for name, value in spec.answers_with.items())
        if (
            response.status_code not in {200, 201, 202}
            or spec.contains not in response.text
            or not has_headers
        ):
            raise BenchmarkError(
                f"{self.name}: {spec.method} {path} answered {response.status_code}: {response.text[:200]}"
            )
        return len(response.content)


def require_programs() -> None:
    """Raise BenchmarkError with the names of the programs that are missing."""
    missing = [name for name in ("node", "npm", "wrk") if shutil.which(name) is None]
    if missing:
        raise BenchmarkError(
            f"The benchmark needs {', '.join(missing)} on PATH (Node.js 20 or newer; wrk 4.1 or newer)."
        )


def install_yardstick() -> None:
    """Run `npm ci` when the installed packages are not those of package-lock.json. Raises BenchmarkError."""
    lock = YARDSTICK_FOLDER / "package-lock.json"
    installed_lock = YARDSTICK_FOLDER / "node_modules" / ".installed"
    if installed_lock.exists() and installed_lock.read_text() == lock.read_text():
        return
    completed = subprocess.run(["npm", "ci", "--loglevel=error"], cwd=YARDSTICK_FOLDER, check=False)
    if completed.returncode:
        raise BenchmarkError("npm ci failed in benchmarks/yardstick; its lines above say why.")
    installed_lock.write_text(lock.read_text())


@contextmanager
def start_stores(var_dir: Path) -> Iterator[dict[str, str]]:
    """Start a private PostgreSQL with an empty database and an empty Redis, durable as in production."""
    with embedded_servers.running_servers(var_dir) as urls:
        database_url = urls["DATABASE_URL"]
        redis_url = urls["REDIS_URL"]
        with psycopg.connect(_with_path(database_url, "postgres"), autocommit=True) as connection:
            name = sql.Identifier(DATABASE)
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        yield {"DATABASE_URL": _with_path(database_url, DATABASE), "REDIS_URL": redis_url}


@contextmanager
def start_getyousite(
    urls: dict[str, str], var_dir: Path, *, settings: dict[str, str] | None = None
) -> Iterator[BenchmarkServer]:
    """Start `manage.py serve` with two workers. Its only owner has twenty sites; the bakery is published.

    `settings` replace environment variables. Raises BenchmarkError when it does not start.
    """
    port = str(embedded_servers.free_port())
    internal_port = str(embedded_servers.free_port())
    environ = {
        **urls,
        "ENVIRONMENT": "development",
        "VAR_DIR": str(var_dir / "web"),
        "HOST": "127.0.0.1",
        "PORT": port,
        "SITES_PORT": port,
        "INTERNAL_PORT": internal_port,
        "CACHE_REDIS_URL": "",  # the default, also when the environment of the caller has another value
        "WEB_WORKERS": str(WORKERS),
        "RATE_LIMIT": "10000000",
        "LOG_LEVEL": "WARNING",
        **(settings or {}),
    }
    manage = [sys.executable, str(ROOT / "manage.py")]
    migrate = processes.start_process("web", [*manage, "migrate", "--verbosity", "0"], environ=environ)
    with _stopped_afterwards(migrate):
        if migrate.process.wait():
            raise BenchmarkError("Our migrations failed; the lines above say why.")
    child = processes.start_process("web", [*manage, "serve"], environ=environ)
    with (
        _stopped_afterwards(child),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        server = BenchmarkServer("getyousite", int(port), child, client)
        _wait_until_ready(server, "/health/ready")
        server.site = _create_sites(client)
        yield server


@contextmanager
def start_yardstick(urls: dict[str, str]) -> Iterator[BenchmarkServer]:
    """Start the yardstick with two workers, in a schema and a Redis database of its own.

    It creates its account and sites itself. Raises BenchmarkError when it does not start.
    """
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
    child = processes.start_process("node", ["node", str(YARDSTICK_FOLDER / "server.mjs")], environ=environ)
    with (
        _stopped_afterwards(child),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        server = BenchmarkServer("yardstick", int(port), child, client)
        _wait_until_ready(server, "/health")
        bearer = {"Authorization": f"Bearer {server.sign_in()}"}
        server.site = client.get("/api/v1/sites", headers=bearer).json()["results"][0]["id"]
        yield server


@contextmanager
def _stopped_afterwards(child: processes.ChildProcess) -> Iterator[None]:
    try:
        yield
    finally:
        processes.stop_processes([child], seconds=40)


def _wait_until_ready(server: BenchmarkServer, path: str) -> None:
    """Wait until `path` answers 200. Raises BenchmarkError when the process ends or the time is over."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        if server.child.process.poll() is not None:
            break
        try:
            if server.client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise BenchmarkError(f"{server.name} did not start; the lines above say why.")


def _create_sites(client: httpx.Client) -> str:
    """Sign up over the API and create the sites; return the id of the published bakery."""
    access = _json_of_created(client.post("/api/v1/auth/register", json=CREDENTIALS))["access"]
    bearer = {"Authorization": f"Bearer {access}"}
    for number in range(1, SITES_OF_OWNER):
        site = {"name": f"Site {number}", "subdomain": f"bench-{number}"}
        _json_of_created(client.post("/api/v1/sites", json=site, headers=bearer))
    bakery = {"name": "Marlow & Rye", "subdomain": SUBDOMAIN, "template": "bakery"}
    site_id = str(_json_of_created(client.post("/api/v1/sites", json=bakery, headers=bearer))["id"])
    _json_of_created(client.post(f"/api/v1/sites/{site_id}/publish", json={}, headers=bearer))
    return site_id


def _json_of_created(response: httpx.Response) -> dict[str, Any]:
    """The body of a 201 response. Raises BenchmarkError for any other status."""
    if response.status_code != 201:
        raise BenchmarkError(
            f"getyousite: {response.request.url.path} answered {response.status_code}: {response.text[:200]}"
        )
    body: dict[str, Any] = response.json()
    return body


def _with_path(url: str, path: str) -> str:
    return urlsplit(url)._replace(path=f"/{path}").geturl()
