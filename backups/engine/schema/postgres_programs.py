"""The programs `pg_dump` and `pg_restore`: where they are, and how they are run.

A password is passed in the environment, because every user of the machine can read a command line.
"""

import os
import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from backups.engine.errors import BackupRefused, Stopped

POLL_SECONDS = 0.1
LOCK_TIMEOUT = "5s"
VERSION_PATTERN = re.compile(r"\(PostgreSQL\) (\d+)")
MAX_MESSAGE_LENGTH = 400


@dataclass(frozen=True, slots=True)
class PostgresPrograms:
    """The folders that are searched for client programs, in order."""

    folders: tuple[Path, ...]

    def find_program(self, name: str, *, minimum_version: int) -> Path:
        """Return the first program of this major version or newer.

        Raises BackupRefused, which names the package to install.
        """
        versions = {path: program_version(path) for path in self._candidates(name)}
        for path, version in versions.items():
            if version >= minimum_version:
                return path
        state = f"is version {max(versions.values())}" if versions else "is not installed"
        raise BackupRefused(
            f"{name} {minimum_version} or newer is needed; here it {state}. Install the package"
            f" postgresql-client-{minimum_version}, or set PG_DUMP_DIR to the folder of the program."
        )

    def _candidates(self, name: str) -> list[Path]:
        return [path for folder in self.folders if os.access(path := folder / name, os.X_OK)]


@lru_cache(maxsize=32)
def program_version(path: Path) -> int:
    """Return the major version of a program, or 0 when it does not run."""
    try:
        completed = subprocess.run(  # noqa: S603 - the path was looked up
            [path, "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return 0
    version = VERSION_PATTERN.search(completed.stdout)
    return int(version[1]) if version else 0


def dump_schema(
    program: Path, dsn: str, *, snapshot: str = "", raise_if_stopped: Callable[[], None] = lambda: None
) -> bytes:
    """Return the schema of a database in the custom format of `pg_dump`, uncompressed.

    `snapshot` is the name of an exported snapshot. Raises BackupRefused with the message of the program, and
    Stopped when another session needs the lock of a table. `raise_if_stopped` is called while it runs.
    """
    arguments = ["--format=custom", "--schema-only", "--compress=0", "--encoding=UTF8", "--no-subscriptions"]
    arguments.append(f"--lock-wait-timeout={LOCK_TIMEOUT}")
    if snapshot:
        arguments.append(f"--snapshot={snapshot}")
    target, environ = _connection_arguments(dsn)
    with TemporaryFile() as output, TemporaryFile() as errors:
        code = _run_until_stopped(
            [str(program), *arguments, target], environ, output, errors, raise_if_stopped
        )
        message = _read(errors).decode(errors="replace")
        if code and "timeout" in message and "LOCK TABLE" in message:
            raise Stopped("A change of the tables needed the lock first. The last good backup is unchanged.")
        if code:
            raise BackupRefused(f"The schema cannot be read: {_shorten(message)}")
        return _read(output)


def convert_archive(program: Path, archive: Path, *arguments: str) -> str:
    """Return what `pg_restore` prints for an archive. Raises BackupRefused with its message."""
    completed = subprocess.run(  # noqa: S603 - our own program and arguments
        [program, *arguments, "--file=-", archive], capture_output=True, env=_environ(), check=False
    )
    if completed.returncode:
        raise BackupRefused(f"The schema of the backup cannot be read: {_shorten(completed.stderr.decode())}")
    return completed.stdout.decode()


def _connection_arguments(dsn: str) -> tuple[str, dict[str, str]]:
    """Return the argument that names the database, and the environment with its password."""
    parts = conninfo_to_dict(dsn)
    environ = _environ()
    if password := parts.pop("password", None):
        environ["PGPASSWORD"] = str(password)
    if parts.pop("sslpassword", None):
        raise BackupRefused("A client key with a passphrase cannot be used for backups.")
    return f"--dbname={make_conninfo('', **parts)}", environ


def _environ() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}  # messages in English, because one of them is recognized


def _run_until_stopped(
    command: list[str],
    environ: dict[str, str],
    output: IO[bytes],
    errors: IO[bytes],
    raise_if_stopped: Callable[[], None],
) -> int:
    """Run a program and return its exit code. It is killed when `raise_if_stopped` raises."""
    process = subprocess.Popen(  # noqa: S603 - our own program and arguments
        command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
    )
    try:
        while True:
            try:
                return process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                raise_if_stopped()
    finally:
        process.kill()
        process.wait()


def _read(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _shorten(message: str) -> str:
    """Return the lines of a message as one line."""
    return " ".join(message.split())[:MAX_MESSAGE_LENGTH]
