"""What is compared.

Each knows how to save everything, save again, and bring it back; what is not installed is left out by name.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from benchmarks.backups.cluster import PROGRAMS, Cluster
from config.embedded_servers import free_port

ROOT = Path(__file__).resolve().parents[2]


class Tool(Protocol):
    name: str
    needs: tuple[str, ...]

    def save(self, *, full: bool) -> float: ...
    def restore(self) -> float: ...


def size(folder: Path) -> int:
    """Bytes of all files below, as their owner sees them."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


class Ours:
    name = "getyousite"
    needs = ()

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.peak = 0

    def command(self, act: str, dsn: str) -> list[str]:
        facts = {"dsn": dsn, "store": str(self.folder / "store"), "state": str(self.folder / "state")}
        return [sys.executable, "-m", "benchmarks.backups.ours", act, json.dumps(facts)]

    def _act(self, act: str, dsn: str) -> float:
        done = subprocess.run(self.command(act, dsn), check=False, cwd=ROOT, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr[-3000:])
        found = json.loads(done.stdout)
        self.peak = max(self.peak, found["peak_mib"])
        return float(found["seconds"])

    def save(self, *, full: bool) -> float:
        if full:
            (self.folder / "state").unlink(missing_ok=True)
        return self._act("take", self.cluster.dsn())

    def restore(self) -> float:
        with self.cluster.empty("rst") as name:
            took = self._act("restore", self.cluster.dsn(name))
            same(self.cluster, name)
        return took


class PgBackRest:
    name = "pgBackRest"
    needs = ("pgbackrest",)

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.command = ["pgbackrest", f"--config={cluster.folder}/pgbackrest.conf", "--stanza=b"]
        cluster.run(*self.command, "stanza-create")
        cluster.run(*self.command, "check")

    def save(self, *, full: bool) -> float:
        return self.cluster.run(*self.command, f"--type={'full' if full else 'incr'}", "backup")

    def restore(self) -> float:
        """Files, and the recovery until it takes connections."""
        place = self.cluster.folder / "restored"
        port = free_port()
        self.cluster.run("mkdir", "-m", "700", str(place))
        took = self.cluster.run(
            *self.command, f"--pg1-path={place}", "--type=immediate", "--target-action=promote", "restore"
        )
        ctl = [
            str(PROGRAMS / "pg_ctl"),
            "-D",
            str(place),
            "-w",
            "-l",
            str(self.cluster.folder / "log-restored"),
        ]
        took += self.cluster.run(*ctl, "-o", f"-p {port} -c archive_mode=off", "start")
        took += self.cluster.shell(
            f"until [ $(psql -p {port} -d b -Atc 'SELECT pg_is_in_recovery()') = f ]; do sleep 0.1; done"
        )
        same(self.cluster, "b", port=port)
        self.cluster.run(*ctl, "-m", "immediate", "stop")
        self.cluster.run("rm", "-rf", str(place))
        return took


CONFIGURATION = """[global]
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
    name = "restic over pg_dump"
    needs = ("restic",)

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
        with self.cluster.empty("rst") as name:
            took = self.cluster.shell(f"{self.command} dump latest b.sql | psql -q -d {name}", **self.environ)
            same(self.cluster, name)
        return took


class Piped:
    name = "pg_dump | gzip | openssl"
    needs = ("openssl",)

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.file = folder / "full.enc"

    def save(self, *, full: bool) -> float:
        return self.cluster.shell(
            f"pg_dump -Fp b | gzip -6 | openssl enc -aes-256-ctr -pbkdf2 -pass pass:bench -out {self.file}"
        )

    def restore(self) -> float:
        with self.cluster.empty("rst") as name:
            took = self.cluster.shell(
                f"openssl enc -d -aes-256-ctr -pbkdf2 -pass pass:bench -in {self.file} | gunzip | psql -q -d {name}"
            )
            same(self.cluster, name)
        return took


class Folders:
    name = "pg_dump -Fd -j 2, in the clear"
    needs = ()

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder / "dump"

    def save(self, *, full: bool) -> float:
        return self.cluster.shell(
            f"rm -rf {self.folder}; {PROGRAMS}/pg_dump -Fd -Z 1 -j 2 -f {self.folder} b"
        )

    def restore(self) -> float:
        with self.cluster.empty("rst") as name:
            took = self.cluster.run(str(PROGRAMS / "pg_restore"), "-j", "2", "-d", name, str(self.folder))
            same(self.cluster, name)
        return took


def same(cluster: Cluster, name: str, **where: int) -> None:
    """Stop when what came back is not what there is: a fast restore of something else is none."""
    if cluster.content(name, **where) != cluster.content():
        sys.exit(f"{name}: what came back differs.")


def tools(cluster: Cluster) -> tuple[list[Any], list[str]]:
    """What is installed, ready, each with a folder of its own; and the names of the rest."""
    kinds = (Ours, PgBackRest, Restic, Piped, Folders)
    made = []
    missing = []
    cluster.run("mkdir", "-p", f"{cluster.folder}/repos", f"{cluster.folder}/lock", f"{cluster.folder}/spool")
    (cluster.folder / "pgbackrest.conf").write_text(
        CONFIGURATION.format(folder=cluster.folder, port=cluster.port)
    )
    for kind in kinds:
        if not all(shutil.which(program) for program in kind.needs):
            missing.append(kind.name)
            continue
        folder = cluster.folder / "repos" / kind.__name__
        cluster.run("mkdir", str(folder))
        tool = kind(cluster, folder)
        made.append((tool, cluster.folder / "repos" / "pgBackRest" if kind is PgBackRest else folder))
    return made, missing
