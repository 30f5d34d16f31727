"""A private PostgreSQL cluster of Debian's packages, and the data that all tools save."""

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

POSTGRES_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
SCALE = float(os.environ.get("BENCH_SCALE", "1"))  # 1 is 2.1 GB
PAGE_COUNT = int(1_000_000 * SCALE)
EVENT_COUNT = int(12_000_000 * SCALE)
LOAD_SQL = f"""
CREATE TABLE page (id int, site int, slug text, body jsonb, updated timestamptz);
INSERT INTO page
SELECT n, n % 1000, 'page-' || n,
    jsonb_build_object('title', md5(n::text), 'text', repeat(md5((n * 7)::text), 10), 'n', n),
    now()
FROM generate_series(1, {PAGE_COUNT}) AS n;
CREATE TABLE ev (id bigint, site int, at timestamptz, page int, visitor bigint, kind smallint);
INSERT INTO ev
SELECT n, n % 1000, now() - n * interval '1 second', n % {PAGE_COUNT}, hashint8(n), n % 5
FROM generate_series(1, {EVENT_COUNT}) AS n;
ALTER TABLE page ADD PRIMARY KEY (id);
ALTER TABLE ev ADD PRIMARY KEY (id);
CREATE INDEX ON ev (site, at);
"""
CHANGE_SQL = f"""
UPDATE page
SET body = body || jsonb_build_object('changed', md5(random()::text)), updated = now()
WHERE id IN (SELECT 1 + (random() * {PAGE_COUNT - 1})::int FROM generate_series(1, {PAGE_COUNT // 100}));
INSERT INTO ev
SELECT n, n % 1000, now(), n % {PAGE_COUNT}, hashint8(n), n % 5
FROM generate_series({EVENT_COUNT} + 1, {EVENT_COUNT + EVENT_COUNT // 100}) AS n;
DELETE FROM ev
WHERE id IN (
    SELECT 1 + (random() * {EVENT_COUNT - 1})::bigint FROM generate_series(1, {EVENT_COUNT // 10_000})
);
"""
CONTENT_SQL = {
    name: f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {name} t" for name in ("page", "ev")
}


def as_postgres_user(*command: str) -> list[str]:
    """The command line that runs `command` as the user `postgres` when we are root.

    PostgreSQL refuses to run as root.
    """
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        if os.geteuid() == 0
        else [*command]
    )


@dataclass
class Cluster:
    """A running PostgreSQL cluster, with its socket and its files in `folder`."""

    folder: Path
    port: int

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def dsn(self, name: str = "b") -> str:
        return f"host={self.folder} port={self.port} user=postgres dbname={name}"

    def run(self, *command: str, **environ: str) -> float:
        """Run a command as the user of PostgreSQL; return its seconds. Exits the program when it fails."""
        started = time.perf_counter()
        completed = subprocess.run(
            as_postgres_user(*command),
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
        if completed.returncode != 0:
            sys.exit(f"{' '.join(command)[:200]}\n{completed.stdout[-2000:]}{completed.stderr[-2000:]}")
        return time.perf_counter() - started

    def shell(self, script: str, **environ: str) -> float:
        """Run a script of bash as `run` does; a failure inside a pipe counts."""
        return self.run("bash", "-c", f"set -o pipefail; {script}", **environ)

    def sql(self, text: str, name: str = "b") -> None:
        """Execute statements, which end with a semicolon at the end of a line, in the database `name`."""
        with psycopg.connect(self.dsn(name), autocommit=True) as connection:
            for statement in filter(None, (part.strip() for part in text.split(";\n"))):
                connection.execute(statement)

    def content_digests(self, name: str = "b", **parameters: int) -> dict[str, object]:
        """Row count and hash of each table, to compare databases. `parameters` are added to the DSN."""
        dsn = self.dsn(name) + "".join(f" {key}={value}" for key, value in parameters.items())
        with psycopg.connect(dsn, autocommit=True) as connection:
            return {
                table: connection.execute(statement).fetchone() for table, statement in CONTENT_SQL.items()
            }

    @contextmanager
    def empty_database(self, name: str) -> Iterator[str]:
        """Create a database to restore into, and drop it when the block ends."""
        self.sql(f"CREATE DATABASE {name} TEMPLATE template0", "postgres")
        try:
            yield name
        finally:
            self.sql(f"DROP DATABASE {name} WITH (FORCE)", "postgres")

    def drop_page_cache(self) -> None:
        """Empty the page cache of the kernel, as after a restart of the machine. Only root can do that."""
        self.sql("CHECKPOINT", "postgres")
        if os.geteuid() == 0:
            subprocess.run(["sync"], check=True)
            Path("/proc/sys/vm/drop_caches").write_text("3")


@contextmanager
def start_cluster(configuration: str) -> Iterator[Cluster]:
    """Start an empty cluster with these additional settings, and delete it when the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="bench-backups-", dir="/var/tmp"))
    cluster = Cluster(folder, free_port())
    if os.geteuid() == 0:
        postgres_user = pwd.getpwnam("postgres")
        os.chown(folder, postgres_user.pw_uid, postgres_user.pw_gid)
    initdb = [str(POSTGRES_PROGRAMS / "initdb"), "-D", str(cluster.data), "-U", "postgres", "-A", "trust"]
    cluster.run(*initdb, "--encoding=UTF8", "--locale=C.UTF-8")
    settings = [
        "listen_addresses = '127.0.0.1'",
        f"port = {cluster.port}",
        f"unix_socket_directories = '{folder}'",
        "shared_buffers = '512MB'",
        "max_wal_size = '4GB'",
        configuration.format(folder=folder),
    ]
    with (cluster.data / "postgresql.conf").open("a") as file:
        file.write("\n" + "\n".join(settings) + "\n")
    pg_ctl = [str(POSTGRES_PROGRAMS / "pg_ctl"), "-D", str(cluster.data), "-w"]
    cluster.run(*pg_ctl, "-l", str(folder / "log"), "start")
    try:
        yield cluster
    finally:
        cluster.run(*pg_ctl, "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)
