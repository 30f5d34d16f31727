"""The backup tools that are compared. Each saves everything, saves again, and restores."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from benchmarks.backups.cluster import POSTGRES_PROGRAMS, Cluster
from config.embedded_servers import free_port

ROOT = Path(__file__).resolve().parents[2]


class Tool(Protocol):
    """A backup tool. `required_programs` are looked up on PATH."""

    name: str
    required_programs: tuple[str, ...]

    def save(self, *, full: bool) -> float:
        """Save the database `b`, completely or only the changes; return the seconds."""

    def restore(self) -> float:
        """Restore the last backup and compare the content; return the seconds of the restore."""


def folder_bytes(folder: Path) -> int:
    """The bytes of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


class Getyousite:
    """Our engine. `peak_mib` is the largest memory of its processes."""

    name = "getyousite"
    required_programs = ()

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.peak_mib = 0

    def command(self, action: str, dsn: str) -> list[str]:
        options = {"dsn": dsn, "store": str(self.folder / "store"), "state": str(self.folder / "state")}
        return [sys.executable, "-m", "benchmarks.backups.engine_process", action, json.dumps(options)]

    def _run_engine(self, action: str, dsn: str) -> float:
        completed = subprocess.run(
            self.command(action, dsn), check=False, cwd=ROOT, capture_output=True, text=True
        )
        if completed.returncode != 0:
            sys.exit(completed.stderr[-3000:])
        result = json.loads(completed.stdout)
        self.peak_mib = max(self.peak_mib, result["peak_mib"])
        return float(result["seconds"])

    def save(self, *, full: bool) -> float:
        if full:
            (self.folder / "state").unlink(missing_ok=True)
        return self._run_engine("take", self.cluster.dsn())

    def restore(self) -> float:
        with self.cluster.empty_database("rst") as name:
            seconds = self._run_engine("restore", self.cluster.dsn(name))
            require_equal_content(self.cluster, name)
        return seconds


class PgBackRest:
    """pgBackRest with its archive of the log, encrypted."""

    name = "pgBackRest"
    required_programs = ("pgbackrest",)

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.command = ["pgbackrest", f"--config={cluster.folder}/pgbackrest.conf", "--stanza=b"]
        cluster.run(*self.command, "stanza-create")
        cluster.run(*self.command, "check")

    def save(self, *, full: bool) -> float:
        return self.cluster.run(*self.command, f"--type={'full' if full else 'incr'}", "backup")

    def restore(self) -> float:
        """Restore the files, and replay the log until the server accepts connections."""
        restore_folder = self.cluster.folder / "restored"
        port = free_port()
        self.cluster.run("mkdir", "-m", "700", str(restore_folder))
        seconds = self.cluster.run(
            *self.command,
            f"--pg1-path={restore_folder}",
            "--type=immediate",
            "--target-action=promote",
            "restore",
        )
        log = str(self.cluster.folder / "log-restored")
        pg_ctl = [str(POSTGRES_PROGRAMS / "pg_ctl"), "-D", str(restore_folder), "-w", "-l", log]
        seconds += self.cluster.run(*pg_ctl, "-o", f"-p {port} -c archive_mode=off", "start")
        seconds += self.cluster.shell(
            f"until [ $(psql -p {port} -d b -Atc 'SELECT pg_is_in_recovery()') = f ]; do sleep 0.1; done"
        )
        require_equal_content(self.cluster, "b", port=port)
        self.cluster.run(*pg_ctl, "-m", "immediate", "stop")
        self.cluster.run("rm", "-rf", str(restore_folder))
        return seconds


PGBACKREST_CONFIGURATION = """[global]
repo1-path={folder}/repos/pgBackRest
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=benchbenchbench
repo1-retention-full=2
repo1-bundle=y
compress-type=zst
compress-level=1
process-max=2
start-fast=y
lock-path={folder}/lock
log-level-file=off
spool-path={folder}/spool
[b]
pg1-path={folder}/data
pg1-port={port}
pg1-socket-path={folder}
"""


class Restic:
    """restic, which reads the output of pg_dump."""

    name = "restic over pg_dump"
    required_programs = ("restic",)

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.command = f"restic -q --no-cache -r {folder}"
        self.environ = {"RESTIC_PASSWORD": "bench"}
        cluster.shell(f"{self.command} init --repository-version 2", **self.environ)

    def save(self, *, full: bool) -> float:
        return self.cluster.shell(
            f"pg_dump -Fp b | {self.command} backup --stdin --stdin-filename b.sql --compression auto",
            **self.environ,
        )

    def restore(self) -> float:
        with self.cluster.empty_database("rst") as name:
            seconds = self.cluster.shell(
                f"{self.command} dump latest b.sql | psql -q -d {name}", **self.environ
            )
            require_equal_content(self.cluster, name)
        return seconds


class PgDumpPipe:
    """pg_dump, compressed by gzip and encrypted by OpenSSL. Every backup is a full one."""

    name = "pg_dump | gzip | openssl"
    required_programs = ("openssl",)

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.file = folder / "full.enc"

    def save(self, *, full: bool) -> float:
        return self.cluster.shell(
            f"pg_dump -Fp b | gzip -6 | openssl enc -aes-256-ctr -pbkdf2 -pass pass:bench -out {self.file}"
        )

    def restore(self) -> float:
        with self.cluster.empty_database("rst") as name:
            decrypt = f"openssl enc -d -aes-256-ctr -pbkdf2 -pass pass:bench -in {self.file}"
            seconds = self.cluster.shell(f"{decrypt} | gunzip | psql -q -d {name}")
            require_equal_content(self.cluster, name)
        return seconds


class PgDumpDirectory:
    """pg_dump in the directory format with two jobs, without encryption. Every backup is a full one."""

    name = "pg_dump -Fd -j 2, in the clear"
    required_programs = ()

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder / "dump"

    def save(self, *, full: bool) -> float:
        return self.cluster.shell(
            f"rm -rf {self.folder}; {POSTGRES_PROGRAMS}/pg_dump -Fd -Z 1 -j 2 -f {self.folder} b"
        )

    def restore(self) -> float:
        with self.cluster.empty_database("rst") as name:
            seconds = self.cluster.run(
                str(POSTGRES_PROGRAMS / "pg_restore"), "-j", "2", "-d", name, str(self.folder)
            )
            require_equal_content(self.cluster, name)
        return seconds


def require_equal_content(cluster: Cluster, name: str, **parameters: int) -> None:
    """Exit the program when the restored database differs from the saved one."""
    if cluster.content_digests(name, **parameters) != cluster.content_digests():
        sys.exit(f"{name}: the restored content differs.")


def prepare_tools(cluster: Cluster) -> tuple[list[Any], list[str]]:
    """Prepare the tools that are installed, each with a folder; return them and the names of the others."""
    tool_classes = (Getyousite, PgBackRest, Restic, PgDumpPipe, PgDumpDirectory)
    prepared_tools = []
    missing = []
    cluster.run("mkdir", "-p", f"{cluster.folder}/repos", f"{cluster.folder}/lock", f"{cluster.folder}/spool")
    (cluster.folder / "pgbackrest.conf").write_text(
        PGBACKREST_CONFIGURATION.format(folder=cluster.folder, port=cluster.port)
    )
    for tool_class in tool_classes:
        if not all(shutil.which(program) for program in tool_class.required_programs):
            missing.append(tool_class.name)
            continue
        folder = cluster.folder / "repos" / tool_class.__name__
        cluster.run("mkdir", str(folder))
        tool = tool_class(cluster, folder)
        # The configuration of pgBackRest names another folder for its repository.
        repository = cluster.folder / "repos" / "pgBackRest" if tool_class is PgBackRest else folder
        prepared_tools.append((tool, repository))
    return prepared_tools, missing
