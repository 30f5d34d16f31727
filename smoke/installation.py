"""A production installation on this machine: what the Docker image holds, installed from `requirements.txt`
alone.

The commands are those of `docs/running.md`. PostgreSQL and Redis are private servers, and mail goes to a
local SMTP server over TLS. When run as root, and if other users may execute the Python interpreter,
everything runs as the user id of the image.
"""

import base64
import contextlib
import fnmatch
import hashlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from config import embedded_servers
from core import processes
from tests.stack import ROOT, eventually

IMAGE_USER_ID = 10001  # as in the Dockerfile
STOP_SECONDS = 45  # DRAIN_SECONDS and the 30 s that requests and tasks have to finish
APP_HOST = "app.example.com"
SITES_DOMAIN = "example-sites.net"


def documented_commands() -> dict[str, list[str]]:
    """The processes that docs/running.md starts, by name, without `docker run` and its options."""
    guide = (ROOT / "docs" / "running.md").read_text()
    lines = [line for line in guide.splitlines() if line.startswith("docker run")]
    celery = [
        line.partition("--entrypoint celery getyousite ")[2].split()
        for line in lines
        if "--entrypoint celery" in line
    ]
    workers = [arguments for arguments in celery if "worker" in arguments]
    (beat,) = [arguments for arguments in celery if "beat" in arguments]
    assert len(workers) == 2, "docs/running.md starts a worker and a worker of backups"
    commands = {"web": ["python", "manage.py", "serve"], "beat": ["celery", *beat]}
    return commands | {f"worker-{number}": ["celery", *arguments] for number, arguments in enumerate(workers)}


def base_interpreter() -> Path:
    """The interpreter to make the environment with: ours, or the system's where other users cannot reach
    ours.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    own = Path(sys.executable).resolve()
    if os.geteuid() != 0:
        return own
    for candidate in (own, Path(f"/usr/bin/python{version}")):
        if candidate.exists() and reachable_by_others(candidate):
            return candidate
    return own


def reachable_by_others(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


def install(home: Path) -> Path:
    """A virtual environment with the packages of `requirements.txt` and nothing else; kept until that file
    changes.
    """
    requirements = ROOT / "requirements.txt"
    interpreter = base_interpreter()
    digest = hashlib.sha256(requirements.read_bytes() + str(interpreter).encode()).hexdigest()[:16]
    environment = home / f"venv-{digest}"
    if (environment / "complete").exists():
        return environment
    for outdated in home.glob("venv-*"):
        shutil.rmtree(outdated)
    subprocess.run([interpreter, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            environment / "bin" / "python",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            requirements,
        ],
        check=True,
    )
    (environment / "complete").touch()
    return environment


def copy_application(target: Path) -> None:
    """The tracked files that `.dockerignore` lets into the image."""
    ignored = (ROOT / ".dockerignore").read_text().split()
    tracked = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in tracked:
        path = Path(name)
        if not (ROOT / path).exists() or any(excluded_by(pattern, path) for pattern in ignored):
            continue
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target / path)


def excluded_by(pattern: str, path: Path) -> bool:
    """Whether a line of `.dockerignore` leaves `path` out: the file itself or a folder above it, `**/` at any
    depth.
    """
    anywhere = pattern.startswith("**/")
    pattern = pattern.removeprefix("**/")
    candidates = [path, *path.parents]
    return any(fnmatch.fnmatch(entry.name if anywhere else str(entry), pattern) for entry in candidates)


@dataclass
class Installation:
    """The installed application with its stores; `start` and `stop` its processes."""

    home: Path
    environment: Path
    settings: dict[str, str]
    user_id: int | None
    port: int
    stores: Path
    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def application(self) -> Path:
        return self.home / "app"

    def run(self, *command: str, **settings: str) -> str:
        """Run a command of the image to its end; its output. Fails with what it printed."""
        finished = subprocess.run(
            self._program(*command),
            cwd=self.application,
            env={**self.settings, **settings},
            capture_output=True,
            text=True,
            **self._identity(),
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout

    def start(self, name: str, *command: str) -> None:
        with self.log_of(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                self._program(*command),
                cwd=self.application,
                env=self.settings,
                stdout=log,
                stderr=log,
                **self._identity(),
            )

    def log_of(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def assert_running(self) -> None:
        """Fail with the end of every log when a process has ended by itself."""
        ended = [name for name, process in self.running.items() if process.poll() is not None]
        assert not ended, f"{', '.join(ended)} ended by itself\n{self.logs()}"

    def logs(self) -> str:
        """The end of every process's log, also after `stop`."""
        return "\n".join(
            f"--- {path.stem}\n{path.read_text()[-4000:]}" for path in sorted(self.home.glob("*.log"))
        )

    def request(self, method: str, path: str, *, host: str = APP_HOST, **options: object) -> httpx.Response:
        """A request as the proxy in front of the web process sends it."""
        headers = {
            "Host": host,
            "X-Forwarded-Proto": "https",
            "X-Forwarded-For": "203.0.113.7",
            **options.pop("headers", {}),
        }
        return httpx.request(
            method, f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=30, **options
        )

    def stop(self) -> dict[str, int | None]:
        """Send SIGTERM to every process; the exit code of each, None for one that had to be killed."""
        started = {
            pid: name
            for name, process in self.running.items()
            for pid in [process.pid, *processes.descendants(process.pid)]
        }
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes: dict[str, int | None] = {}
        for name, process in self.running.items():
            try:
                codes[name] = process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                codes[name] = None
        deadline = time.monotonic() + 5  # for what a process started and did not wait for
        while any(is_alive(pid) for pid in started) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid, name in started.items():
            if is_alive(pid):
                codes[name] = None
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.running.clear()
        return codes

    def _program(self, *command: str) -> list[str]:
        return [str(self.environment / "bin" / command[0]), *command[1:]]

    def _identity(self) -> dict[str, object]:
        return (
            {} if self.user_id is None else {"user": self.user_id, "group": self.user_id, "extra_groups": []}
        )


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def production_settings(home: Path, *, mail_url: str, certificate: Path) -> dict[str, str]:
    """The variables of docs/running.md that have no default in production, and those that the image sets."""
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home / "app"),
        "ENVIRONMENT": "production",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "VAR_DIR": str(home / "var"),
        "SECRET_KEY": secrets.token_urlsafe(48),
        "JWT_KEYS": f"2026a:{secrets.token_urlsafe(48)}",
        "AUDIT_KEYS": f"2026a:{key}",
        "OBJECT_STORE_URL": f"file://{home}/var/objects",
        "BACKUP_STORE_URL": f"file://{home}/var/backups",
        "BACKUP_KEYS": base64.b64encode(secrets.token_bytes(32)).decode(),
        "MAIL_URL": mail_url,
        "SSL_CERT_FILE": str(certificate),
        "APP_HOST": APP_HOST,
        "SITES_DOMAIN": SITES_DOMAIN,
        "TRUSTED_PROXY_COUNT": "1",
        "WEB_WORKERS": "2",
    }


def prepare(home: Path, *, mail_url: str, certificate: Path) -> Installation:
    """Install, start the stores, collect static files as the Dockerfile does, and migrate."""
    environment = install(home)
    for name in ("app", "var"):
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).mkdir(mode=0o755)
    copy_application(home / "app")
    user_id = (
        IMAGE_USER_ID if os.geteuid() == 0 and reachable_by_others(environment / "bin" / "python") else None
    )
    if user_id is not None:
        os.chown(home / "var", user_id, user_id)
        shutil.copy(certificate, home / "app" / "certificate.pem")
        certificate = home / "app" / "certificate.pem"
    stores = empty_stores(home)
    settings = production_settings(home, mail_url=mail_url, certificate=certificate)
    port = embedded_servers.free_port()
    settings |= {"PORT": str(port), "INTERNAL_PORT": str(embedded_servers.free_port())}
    installation = Installation(home, environment, settings, user_id, port, stores)
    try:
        settings["DATABASE_URL"] = embedded_servers.PostgresServer(stores).start(print, fast=True)
        settings["REDIS_URL"] = embedded_servers.RedisServer(stores).start(print)
        collect_static_files(installation)
        installation.run("python", "manage.py", "migrate", "--verbosity", "0")
    except BaseException:
        stop_stores(stores)
        raise
    return installation


def empty_stores(home: Path) -> Path:
    """The folder for PostgreSQL and Redis, without those of an earlier run."""
    stores = embedded_servers.server_folder(home / "stores")
    stop_stores(stores)
    shutil.rmtree(stores)
    stores.mkdir()
    return stores


def stop_stores(stores: Path) -> None:
    embedded_servers.RedisServer(stores).stop()
    embedded_servers.PostgresServer(stores).stop()


def collect_static_files(installation: Installation) -> None:
    """As root, like the build stage of the image: the application's folder is read-only for the user that
    runs it.
    """
    user_id = installation.user_id
    installation.user_id = None
    installation.run(
        "python", "manage.py", "collectstatic", "--noinput", VAR_DIR=str(installation.home / "stores")
    )
    installation.user_id = user_id


def start(installation: Installation) -> None:
    """Start what docs/running.md starts, and wait until the web process is ready."""
    for name, command in documented_commands().items():
        # In a container /tmp belongs to it alone; here each run has a file of its own.
        own = [part.replace("/tmp/beat", str(installation.home / "var" / "beat")) for part in command]
        installation.start(name, *own)

    def is_ready() -> bool:
        installation.assert_running()
        try:
            return installation.request("GET", "/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    eventually(is_ready, seconds=60)


def token_in(text: str) -> str:
    match = re.search(r"#(\S+)", text)
    assert match, text
    return match[1]
