"""A PostgreSQL of Debian's packages for this run alone, with the data that everybody saves."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from config.embedded_servers import free_port

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
SCALE = float(os.environ.get("BENCH_SCALE", "1"))  # 1 is 2.1 GB
PAGES = int(1_000_000 * SCALE)
EVENTS = int(12_000_000 * SCALE)
LOAD = f"""
CREATE TABLE page (id int, site int, slug text, body jsonb, updated timestamptz);
INSERT INTO page SELECT n, n % 1000, 'page-' || n, jsonb_build_object('title', md5(n::text), 'text', repeat(md5((n * 7)::text), 10), 'n', n), now()
    FROM generate_series(1, {PAGES}) AS n;
CREATE TABLE ev (id bigint, site int, at timestamptz, page int, visitor bigint, kind smallint);
INSERT INTO ev SELECT n, n % 1000, now() - n * interval '1 second', n % {PAGES}, hashint8(n), n % 5 FROM generate_series(1, {EVENTS}) AS n;
ALTER TABLE page ADD PRIMARY KEY (id); ALTER TABLE ev ADD PRIMARY KEY (id); CREATE INDEX ON ev (site, at);
"""
CHANGE = f"""
UPDATE page SET body = body || jsonb_build_object('changed', md5(random()::text)), updated = now()
    WHERE id IN (SELECT 1 + (random() * {PAGES - 1})::int FROM generate_series(1, {PAGES // 100}));
INSERT INTO ev SELECT n, n % 1000, now(), n % {PAGES}, hashint8(n), n % 5 FROM generate_series({EVENTS} + 1, {EVENTS + EVENTS // 100}) AS n;
DELETE FROM ev WHERE id IN (SELECT 1 + (random() * {EVENTS - 1})::bigint FROM generate_series(1, {EVENTS // 10_000}));
"""
EQUAL = {name: f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {name} t" for name in ("page", "ev")}


def as_postgres(*command: str) -> list[str]:
    """Root may not run PostgreSQL; then the packages' own user does."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        if os.geteuid() == 0
        else [*command]
    )


@dataclass
class Cluster:
    folder: Path
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def dsn(self, name: str = "b") -> str:
        return f"host={self.folder} port={self.port} user=postgres dbname={name}"

    def run(self, *command: str, **environ: str) -> float:
        """Seconds that a command took, as the user of PostgreSQL. Raises when it fails."""
        began = time.perf_counter()
        done = subprocess.run(
            as_postgres(*command),
            check=False,
            env={
                **os.environ,
                "PGHOST": str(self.folder),
                "PGPORT": str(self.port),
                "PGUSER": "postgres",
                **environ,
            },
            capture_output=True,
            text=True,
            cwd=self.folder,
        )
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)[:200]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return time.perf_counter() - began

    def shell(self, script: str, **environ: str) -> float:
        return self.run("bash", "-c", f"set -o pipefail; {script}", **environ)

    def sql(self, text: str, name: str = "b") -> None:
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            for statement in filter(None, (part.strip() for part in text.split(";\n"))):
                connection.execute(statement)

    def content(self, name: str = "b", **where: int) -> dict[str, object]:
        dsn = self.dsn(name) + "".join(f" {key}={value}" for key, value in where.items())
        with psycopg.connect(dsn, autocommit=True) as connection:
            return {table: connection.execute(statement).fetchone() for table, statement in EQUAL.items()}

    @contextmanager
    def empty(self, name: str) -> Iterator[str]:
        """A database to restore into."""
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0", "postgres")
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)", "postgres")

    def fresh_cache(self) -> None:
        """As after a restart of the machine, where we may say so."""
        self.sql("CHECKPOINT", "postgres")
        if os.geteuid() == 0:
            subprocess.run(["sync"], check=True)
            Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def cluster(configuration: str) -> Iterator[Cluster]:
    """One with the data loaded; gone when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="bench-backups-", dir="/var/tmp"))
    made = Cluster(folder, free_port())
    if os.geteuid() == 0:
        found = pwd.getpwnam("postgres")
        os.chown(folder, found.pw_uid, found.pw_gid)
    made.run(
        str(PROGRAMS / "initdb"),
        "-D",
        str(made.data),
        "-U",
        "postgres",
        "-A",
        "trust",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
    )
    with (made.data / "postgresql.conf").open("a") as file:
        file.write(
            f"\nlisten_addresses = '127.0.0.1'\nport = {made.port}\nunix_socket_directories = '{folder}'\nshared_buffers = '512MB'\nmax_wal_size = '4GB'\n{configuration.format(folder=folder)}\n"
        )
    made.run(str(PROGRAMS / "pg_ctl"), "-D", str(made.data), "-w", "-l", str(folder / "log"), "start")
    try:
        yield made
    finally:
        made.run(str(PROGRAMS / "pg_ctl"), "-D", str(made.data), "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
