"""The servers that are compared: our web process and Fastify on the same private stores, and nginx."""

import json
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
from uuid import uuid4

import httpx
import psycopg
import redis
from psycopg import sql

from benchmarks.envelopes import envelope
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
VAULT_ITEM_BYTES = 1024
NGINX = "/usr/sbin/nginx"
NGINX_CONFIGURATION = """
daemon off;
worker_processes {workers};
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  types {{ text/html html; }}
  access_log off;
  sendfile on;
  tcp_nopush on;
  open_file_cache max=100;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/pages;
  }}
}}
"""


class BenchmarkError(SystemExit):
    """The benchmark cannot run here. Prints one line and exits with code 1."""


@dataclass
class BenchmarkServer:
    """A running server. `ids` has the values of the placeholders in a `RequestSpec`, for each site."""

    name: str
    port: int
    child: processes.ChildProcess
    client: httpx.Client = field(repr=False)
    ids: list[dict[str, str]] = field(default_factory=lambda: [{}])
    key: str = ""  # an API key

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

    def headers(self, spec: RequestSpec) -> dict[str, str]:
        """The headers of `spec`, with a credential of this server."""
        headers = dict(spec.headers)
        if spec.signed_in or spec.with_key:
            headers["Authorization"] = f"Bearer {self.key if spec.with_key else self.sign_in()}"
        return headers

    def paths(self, spec: RequestSpec) -> list[str]:
        """The path of `spec` for each site."""
        return [fill(spec.path, ids) for ids in self.ids]

    def body(self, spec: RequestSpec) -> Any:
        """The body of `spec` with the ids of this server."""
        return json.loads(fill(json.dumps(spec.body), self.ids[0]))

    def verify_response(self, spec: RequestSpec) -> int:
        """Send the request once, and return the length of the response body in bytes.

        Raises BenchmarkError when status, content or headers are not those that `spec` describes.
        """
        path = self.paths(spec)[0]
        body = None if spec.method == "GET" else (self.body(spec) or CREDENTIALS)
        response = self.client.request(spec.method, path, headers=self.headers(spec), json=body)
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


def fill(text: str, ids: dict[str, str]) -> str:
    """Replace the placeholders in `text`."""
    for name, value in ids.items():
        text = text.replace(f"{{{name}}}", value)
    return text


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
        _create_data(server, var_dir)
        yield server


@contextmanager
def start_yardstick(urls: dict[str, str], blueprint: Path) -> Iterator[BenchmarkServer]:
    """Start the yardstick with two workers, in a schema and a Redis database of its own.

    It creates its account and sites itself, with the blueprint of this file. Raises BenchmarkError when it
    does not start.
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
        "BLUEPRINT": str(blueprint),
    }
    child = processes.start_process("node", ["node", str(YARDSTICK_FOLDER / "server.mjs")], environ=environ)
    with (
        _stopped_afterwards(child),
        httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
    ):
        server = BenchmarkServer("yardstick", int(port), child, client)
        _wait_until_ready(server, "/health")
        bearer = {"Authorization": f"Bearer {server.sign_in()}"}
        server.ids = client.get("/ids", headers=bearer).json()
        yield server


@contextmanager
def start_nginx(getyousite: BenchmarkServer, var_dir: Path) -> Iterator[BenchmarkServer | None]:
    """Start nginx with two workers. It serves the front page of our published site from a file.

    Yields None when nginx is not installed.
    """
    if not Path(NGINX).exists():
        yield None
        return
    folder = (var_dir / "nginx").absolute()
    (folder / "pages").mkdir(parents=True, exist_ok=True)
    page = getyousite.client.get(
        "/", headers={"Host": f"{SUBDOMAIN}.localhost", "Accept-Encoding": "identity"}
    )
    (folder / "pages" / "index.html").write_bytes(page.content)
    port = embedded_servers.free_port()
    (folder / "nginx.conf").write_text(NGINX_CONFIGURATION.format(port=port, folder=folder, workers=WORKERS))
    command = [NGINX, "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
    child = processes.start_process("nginx", command, environ={})
    with _stopped_afterwards(child), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        server = BenchmarkServer("nginx", port, child, client)
        _wait_until_ready(server, "/")
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


def _create_data(server: BenchmarkServer, var_dir: Path) -> None:
    """Create the owner, sites with one post, a vault and an API key over the API. Sets `ids` and `key`.

    Writes the blueprint of the sites to `blueprint.json` in `var_dir`.
    """
    client = server.client
    access = _json_of_created(client.post("/api/v1/auth/register", json=CREDENTIALS))["access"]
    client.headers["Authorization"] = f"Bearer {access}"
    site_ids = []
    for number in range(SITES_OF_OWNER):
        subdomain = f"bench-{number}" if number else SUBDOMAIN
        site = {"name": "Marlow & Rye", "subdomain": subdomain, "template": "bakery"}
        site_ids.append(str(_json_of_created(client.post("/api/v1/sites", json=site))["id"]))
    _json_of_created(client.post(f"/api/v1/sites/{site_ids[0]}/publish", json={}))
    _json_of_created(client.post(f"/api/v1/sites/{site_ids[0]}/posts", json={"title": "The first post"}))
    key = {"label": "benchmark", "scopes": ["sites.read"]}
    server.key = str(_json_of_created(client.post("/api/v1/api-keys", json=key))["key"])
    vault_id, item_id = str(uuid4()), str(uuid4())
    _json_of_created(client.post("/api/v1/vault", json={"vault_id": vault_id, **envelope(60)}))
    item = {"item_id": item_id, **envelope(VAULT_ITEM_BYTES)}
    _json_of_created(client.post(f"/api/v1/vault/{vault_id}/items", json=item, headers={"If-Match": '"1"'}))
    (var_dir / "blueprint.json").write_bytes(client.get(f"/api/v1/sites/{site_ids[0]}/blueprint").content)
    server.ids = [{"site": site_id, "vault": vault_id, "item": item_id} for site_id in site_ids]
    del client.headers["Authorization"]


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
