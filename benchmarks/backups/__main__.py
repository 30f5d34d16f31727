"""`python -m benchmarks.backups`: time and bytes of full, idle and 1 % increments, and of restores; memory;
and what others notice.

Needs Debian's postgresql-15, pgbackrest and restic (what is missing is left out by name), and 12 GB below
/var/tmp. `BENCH_SCALE` scales the 2.1 GB. As root the page cache is dropped before each restore.
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

from benchmarks.backups.cluster import CHANGE, LOAD, PROGRAMS, SCALE, Cluster, as_postgres, cluster
from benchmarks.backups.tools import ROOT, Ours, size, tools

ARCHIVE = "archive_mode = on\narchive_command = 'pgbackrest --config={folder}/pgbackrest.conf --stanza=b archive-push %p'"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "1"))
LOADS = 3
LOAD_SECONDS = 20

console = Console(highlight=False, width=None if sys.stdout.isatty() else 130)


def main() -> int:
    if not PROGRAMS.exists():
        console.print("postgresql-15 is not installed.")
        return 1
    from shutil import which

    with cluster(ARCHIVE if which("pgbackrest") else "") as made:
        console.print(f"Loading {2.1 * SCALE:.1f} GB")
        made.sql("CREATE DATABASE b TEMPLATE template0", "postgres")
        made.sql(LOAD)
        made.sql("VACUUM ANALYZE;\nCHECKPOINT")
        facts = {"scale": SCALE, "tools": compare(made), "noticed": noticed(made)}
    console.print(shown(facts))
    Console().print_json(json.dumps(facts))
    return 0


def compare(made: Cluster) -> dict[str, Any]:
    """Everybody in turn at each stage, so that all save the same; the medians of the rounds."""
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(ROUNDS):
        ready, missing = tools(made)
        for name in missing:
            console.print(f"left out, not installed: {name}")
        for stage in ("full", "idle", "changed"):
            if stage == "changed":
                made.sql(CHANGE)
                made.sql("CHECKPOINT")
            for tool, folder in ready:
                before = size(folder)
                took = tool.save(full=stage == "full")
                note(found, tool.name, f"{stage}_seconds", took)
                note(
                    found,
                    tool.name,
                    f"{stage}_bytes",
                    size(folder) - (before if stage != "full" and not tool.name.startswith("pg_dump") else 0),
                )
        for tool, _ in ready:
            made.fresh_cache()
            note(found, tool.name, "restore_seconds", tool.restore())
            if isinstance(tool, Ours):
                note(found, tool.name, "peak_mib", tool.peak)
        subprocess.run(["rm", "-rf", f"{made.folder}/repos"], check=True)
    return {
        name: {fact: round(statistics.median(values), 2) for fact, values in facts.items()}
        for name, facts in found.items()
    }


def note(found: dict[str, dict[str, list[float]]], name: str, fact: str, value: float) -> None:
    found.setdefault(name, {}).setdefault(fact, []).append(value)
    console.print(f"  {name}: {fact} {value:,.1f}")


def noticed(made: Cluster) -> dict[str, Any]:
    """The 99th percentile of transactions at 30 % of what the machine can: alone, beside a full run of ours
    as it is by schedule, and beside pg_dump, in turn. Ours writes to another disk, as it should.
    """
    pgbench = str(PROGRAMS / "pgbench")
    made.sql("CREATE DATABASE load TEMPLATE template0", "postgres")
    made.run(pgbench, "-q", "-i", "-s", "20", "load")
    most = _speed(made, pgbench)
    found: dict[str, list[float]] = {"calm": [], "ours": [], "pg_dump": []}
    for _ in range(LOADS):
        for name, p99s in found.items():
            made.sql("CHECKPOINT", "postgres")  # what it writes is noticed more than all of this
            with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
                again = f"while {PROGRAMS}/pg_dump -d '{made.dsn()}' >/dev/null; do :; done"
                ours = Ours(made, Path(folder))
                dump = as_postgres("bash", "-c", again)
                beside = {"calm": [], "ours": ours.command("scheduled", made.dsn()), "pg_dump": dump}[name]
                with running(beside):
                    p99s.append(_p99(made, pgbench, rate=0.3 * most))
    ratios = {
        f"{name}_ratio": round(statistics.median(p99s) / statistics.median(found["calm"]), 2)
        for name, p99s in found.items()
    }
    return {
        "most_per_second": round(most),
        **{f"{name}_p99_ms": p99s for name, p99s in found.items()},
        **ratios,
    }


@contextmanager
def running(command: list[str]) -> Iterator[None]:
    """A program beside the block, which must not end before it does."""
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
            sys.exit(f"{command[0]} was over too soon.")
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _speed(made: Cluster, pgbench: str) -> float:
    done = subprocess.run(
        as_postgres(
            pgbench,
            "-h",
            str(made.folder),
            "-p",
            str(made.port),
            "-U",
            "postgres",
            "-c",
            "4",
            "-j",
            "1",
            "-T",
            "10",
            "load",
        ),
        capture_output=True,
        text=True,
        check=True,
        cwd=made.folder,
    )
    return float(next(line for line in done.stdout.splitlines() if line.startswith("tps")).split()[2])


def _p99(made: Cluster, pgbench: str, *, rate: float) -> float:
    """Milliseconds from when a transaction should have begun to its end."""
    prefix = made.folder / f"latencies-{time.time_ns()}"
    made.run(
        pgbench,
        "-c",
        "4",
        "-j",
        "1",
        "-T",
        str(LOAD_SECONDS),
        "-R",
        str(int(rate)),
        "-l",
        f"--log-prefix={prefix}",
        "load",
    )
    times = sorted(
        int(line.split()[2])
        for path in Path(prefix.parent).glob(f"{prefix.name}*")
        for line in path.read_text().splitlines()
    )
    return round(times[int(0.99 * len(times))] / 1000, 2)


def shown(facts: dict[str, Any]) -> Table:
    table = Table(
        "tool", "full s", "MB", "idle s", "MB", "1 % s", "MB", "restore s", title="Backups, side by side"
    )
    for name, found in facts["tools"].items():
        cells = [
            f"{found[f'{stage}_seconds']:,.1f} {found[f'{stage}_bytes'] / 1e6:,.2f}".split()
            for stage in ("full", "idle", "changed")
        ]
        table.add_row(name, *[cell for pair in cells for cell in pair], f"{found['restore_seconds']:,.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
