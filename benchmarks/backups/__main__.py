"""`python -m benchmarks.backups` compares backup tools: time, bytes, memory, and the effect on other work.

It measures a full backup, one without changes, one after 1 % changed, and a restore. It needs Debian's
postgresql-15, pgbackrest and restic, and 12 GB below /var/tmp; a missing tool is left out. `BENCH_SCALE`
scales the 2.1 GB of data. As root, the page cache is emptied before each restore.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.backups.cluster import (
    CHANGE_SQL,
    LOAD_SQL,
    POSTGRES_PROGRAMS,
    SCALE,
    Cluster,
    as_postgres_user,
    start_cluster,
)
from benchmarks.backups.tools import ROOT, Getyousite, folder_bytes, prepare_tools

ARCHIVE_SETTINGS = (
    "archive_mode = on\n"
    "archive_command = 'pgbackrest --config={folder}/pgbackrest.conf --stanza=b archive-push %p'"
)
ROUND_COUNT = int(os.environ.get("BENCH_ROUNDS", "1"))
LOAD_REPETITIONS = 3
LOAD_SECONDS = 20

console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


def main() -> int:
    """Print a table and the results as JSON. Returns 1 when PostgreSQL is not installed."""
    if not POSTGRES_PROGRAMS.exists():
        console.print("postgresql-15 is not installed.")
        return 1
    from shutil import which

    with start_cluster(ARCHIVE_SETTINGS if which("pgbackrest") else "") as cluster:
        console.print(f"Loading {2.1 * SCALE:.1f} GB")
        cluster.sql("CREATE DATABASE b TEMPLATE template0", "postgres")
        cluster.sql(LOAD_SQL)
        cluster.sql("VACUUM ANALYZE;\nCHECKPOINT")
        results = {"scale": SCALE, "tools": compare_tools(cluster), "noticed": measure_load(cluster)}
    console.print(results_table(results))
    Console().print_json(json.dumps(results))
    return 0


def compare_tools(cluster: Cluster) -> dict[str, Any]:
    """Measure all tools in turn at each stage, so that all save the same data. Returns medians by tool."""
    measurements: dict[str, dict[str, list[float]]] = {}
    for _ in range(ROUND_COUNT):
        ready, missing = prepare_tools(cluster)
        for name in missing:
            console.print(f"left out, not installed: {name}")
        for stage in ("full", "idle", "changed"):
            if stage == "changed":
                cluster.sql(CHANGE_SQL)
                cluster.sql("CHECKPOINT")
            for tool, folder in ready:
                before = folder_bytes(folder)
                seconds = tool.save(full=stage == "full")
                record_measurement(measurements, tool.name, f"{stage}_seconds", seconds)
                is_increment = stage != "full" and not tool.name.startswith("pg_dump")
                written = folder_bytes(folder) - (before if is_increment else 0)
                record_measurement(measurements, tool.name, f"{stage}_bytes", written)
        for tool, _ in ready:
            cluster.drop_page_cache()
            record_measurement(measurements, tool.name, "restore_seconds", tool.restore())
            if isinstance(tool, Getyousite):
                record_measurement(measurements, tool.name, "peak_mib", tool.peak_mib)
        subprocess.run(["rm", "-rf", f"{cluster.folder}/repos"], check=True)
    return {
        name: {measurement: round(statistics.median(values), 2) for measurement, values in results.items()}
        for name, results in measurements.items()
    }


def record_measurement(
    measurements: dict[str, dict[str, list[float]]], name: str, measurement: str, value: float
) -> None:
    """Add a measurement of the tool `name`, and print it."""
    measurements.setdefault(name, {}).setdefault(measurement, []).append(value)
    console.print(f"  {name}: {measurement} {value:,.1f}")


def measure_load(cluster: Cluster) -> dict[str, Any]:
    """The 99th percentile of transactions at 30 % of the maximum rate of this machine.

    It is measured in turn without other work, beside a scheduled full backup of ours, and beside pg_dump. Our
    backup writes to another disk, as in production.
    """
    pgbench = str(POSTGRES_PROGRAMS / "pgbench")
    cluster.sql("CREATE DATABASE load TEMPLATE template0", "postgres")
    cluster.run(pgbench, "-q", "-i", "-s", "20", "load")
    max_rate = _max_transactions_per_second(cluster, pgbench)
    measurements: dict[str, list[float]] = {"calm": [], "ours": [], "pg_dump": []}
    for _ in range(LOAD_REPETITIONS):
        for name, p99s in measurements.items():
            cluster.sql("CHECKPOINT", "postgres")  # a checkpoint during the measurement would dominate it
            with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                repeated_dump = (
                    f"while {POSTGRES_PROGRAMS}/pg_dump -d '{cluster.dsn()}' >/dev/null; do :; done"
                )
                ours = Getyousite(cluster, Path(folder))
                dump = as_postgres_user("bash", "-c", repeated_dump)
                command = {"calm": [], "ours": ours.command("scheduled", cluster.dsn()), "pg_dump": dump}[
                    name
                ]
                with running_beside(command):
                    p99s.append(_p99(cluster, pgbench, rate=0.3 * max_rate))
    ratios = {
        f"{name}_ratio": round(statistics.median(p99s) / statistics.median(measurements["calm"]), 2)
        for name, p99s in measurements.items()
    }
    return {
        "most_per_second": round(max_rate),
        **{f"{name}_p99_ms": p99s for name, p99s in measurements.items()},
        **ratios,
    }


@contextmanager
def running_beside(command: list[str]) -> Iterator[None]:
    """Run a program while the block runs. Exits when the program ends before the block."""
    if not command:
        yield
        return
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        ["nice", *command], cwd=ROOT, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        yield
        if process.poll() is not None:
            sys.exit(f"{command[0]} ended before the measurement.")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _max_transactions_per_second(cluster: Cluster, pgbench: str) -> float:
    """What pgbench reports with four clients and no rate limit, in ten seconds."""
    server = ["-h", str(cluster.folder), "-p", str(cluster.port), "-U", "postgres"]
    completed = subprocess.run(
        as_postgres_user(pgbench, *server, "-c", "4", "-j", "1", "-T", "10", "load"),
        capture_output=True,
        text=True,
        check=True,
        cwd=cluster.folder,
    )
    return float(next(line for line in completed.stdout.splitlines() if line.startswith("tps")).split()[2])


def _p99(cluster: Cluster, pgbench: str, *, rate: float) -> float:
    """The 99th percentile in milliseconds, from the scheduled start of a transaction to its end."""
    prefix = cluster.folder / f"latencies-{time.time_ns()}"
    load = ["-c", "4", "-j", "1", "-T", str(LOAD_SECONDS), "-R", str(int(rate))]
    cluster.run(pgbench, *load, "-l", f"--log-prefix={prefix}", "load")
    times = sorted(
        int(line.split()[2])
        for path in Path(prefix.parent).glob(f"{prefix.name}*")
        for line in path.read_text().splitlines()
    )
    return round(times[int(0.99 * len(times))] / 1000, 2)


def results_table(results: dict[str, Any]) -> Table:
    """The table for the terminal: a row for each tool."""
    table = Table(
        "tool", "full s", "MB", "idle s", "MB", "1 % s", "MB", "restore s", title="Backups, side by side"
    )
    for name, measurements in results["tools"].items():
        cells = [
            f"{measurements[f'{stage}_seconds']:,.1f} {measurements[f'{stage}_bytes'] / 1e6:,.2f}".split()
            for stage in ("full", "idle", "changed")
        ]
        table.add_row(
            name, *[cell for pair in cells for cell in pair], f"{measurements['restore_seconds']:,.1f}"
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
